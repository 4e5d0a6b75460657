package urza

import (
	"encoding/json"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/esper-lite/esper/leyline/leylinepb"
)

// MaxPrewarmSamples is how many prewarm samples a record keeps: the newest.
const MaxPrewarmSamples = 20

// Record is everything that the catalogue holds about one blueprint. Its
// methods are not safe for concurrent use with changes to its fields.
type Record struct {
	// Descriptor is never nil in a record of this package. Its blueprint id
	// is the key of the row.
	Descriptor *leylinepb.BlueprintDescriptor

	// ArtifactPath is absolute, or relative to the working directory.
	ArtifactPath string

	// ArtifactModTime is the modification time of the artifact when it was
	// saved, in Unix seconds; 0 is unknown.
	ArtifactModTime float64

	Checksum         string    // hex SHA-256 of the artifact; empty: never checked
	GuardDigest      string    // empty: none
	PrewarmSamples   []float64 // milliseconds, newest last
	CompileMillis    *float64  // nil: unknown
	PrewarmMillis    *float64  // nil: unknown
	CompileStrategy  string    // empty: none
	EagerFallback    bool
	GuardSpec        []json.RawMessage // objects
	GuardSpecSummary []string
	InductorCacheDir string   // empty: none
	Tags             []string // compared without case

	// Extra holds the other keys of _urza as JSON text, graph_metadata and
	// bsds among them.
	Extra map[string]json.RawMessage

	// row is where the record was read from, so that saving it keeps what
	// this type has no field for. Nil for a record made by hand.
	row *Row
}

// NewRecord returns an empty record for a blueprint.
func NewRecord(blueprintID string) *Record {
	return &Record{
		Descriptor: &leylinepb.BlueprintDescriptor{BlueprintId: blueprintID},
		Extra:      map[string]json.RawMessage{},
	}
}

// BlueprintID returns the id in the descriptor.
func (r *Record) BlueprintID() string { return r.Descriptor.GetBlueprintId() }

// Clone returns a copy that shares nothing with r.
func (r *Record) Clone() *Record {
	c := *r
	c.Descriptor = proto.CloneOf(r.Descriptor)
	c.PrewarmSamples = slices.Clone(r.PrewarmSamples)
	c.CompileMillis = clonePointer(r.CompileMillis)
	c.PrewarmMillis = clonePointer(r.PrewarmMillis)
	c.GuardSpec = slices.Clone(r.GuardSpec)
	for i, spec := range c.GuardSpec {
		c.GuardSpec[i] = slices.Clone(spec)
	}
	c.GuardSpecSummary = slices.Clone(r.GuardSpecSummary)
	c.Tags = slices.Clone(r.Tags)
	c.Extra = maps.Clone(r.Extra)
	for key, value := range c.Extra {
		c.Extra[key] = slices.Clone(value)
	}
	return &c
}

func clonePointer(f *float64) *float64 {
	if f == nil {
		return nil
	}
	return new(*f)
}

// Apply takes over the figures of a catalogue update: its guard digest unless
// empty, its prewarm time as one more sample unless 0, its compile and prewarm
// times. It leaves the checksum alone: that of a record is always the one
// computed from the file.
func (r *Record) Apply(update *leylinepb.KernelCatalogUpdate) {
	if digest := update.GetGuardDigest(); digest != "" {
		r.GuardDigest = digest
	}
	if ms := update.GetPrewarmMs(); ms != 0 {
		r.PrewarmSamples = append(r.PrewarmSamples, float64(ms))
	}
	r.CompileMillis = new(float64(update.GetCompileMs()))
	r.PrewarmMillis = new(float64(update.GetPrewarmMs()))
}

// CatalogUpdate returns the message that announces r to other processes.
func (r *Record) CatalogUpdate() *leylinepb.KernelCatalogUpdate {
	update := &leylinepb.KernelCatalogUpdate{
		BlueprintId: r.BlueprintID(),
		ArtifactRef: r.ArtifactPath,
		Checksum:    r.Checksum,
		GuardDigest: r.GuardDigest,
	}
	if r.CompileMillis != nil {
		update.CompileMs = float32(*r.CompileMillis)
	}
	if r.PrewarmMillis != nil {
		update.PrewarmMs = float32(*r.PrewarmMillis)
	}
	return update
}

// MarshalJSON returns the metadata of the row, with snake_case names and the
// key _urza as in the catalogue, and the artifact path as artifact_path. Words
// that Python writes for numbers that are not finite make it fail.
func (r *Record) MarshalJSON() ([]byte, error) {
	row, err := encodeRow(r)
	if err != nil {
		return nil, err
	}
	metadata, err := parseObject(row.Metadata)
	if err != nil {
		return nil, err
	}
	metadata.set("tier", quote(row.Tier))
	metadata.set("artifact_path", quote(row.ArtifactPath))
	return []byte(metadata.text()), nil
}
