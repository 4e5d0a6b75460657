package urza

import (
	"encoding/json"
	"hash/maphash"
	"slices"
	"strconv"

	"github.com/esper-lite/esper/leyline/leylinepb"
)

// Entry is what the index holds of a record: enough to serve and to search.
// Entries are shared: do not change Tags.
type Entry struct {
	BlueprintID  string
	Name         string
	Tier         leylinepb.BlueprintTier
	Stage        uint32
	Tags         []string
	ArtifactPath string
	Checksum     string  // empty: the record has none
	GuardDigest  string  // empty: the record has none
	PrewarmP50   float32 // milliseconds; 0 without samples
	PrewarmP95   float32 // milliseconds; 0 without samples

	// Problem says why the metadata cannot be read. Empty: it can. A record
	// with a problem is listed, but not served.
	Problem string
}

// MarshalJSON writes snake_case names and the tier by its name.
func (e Entry) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		BlueprintID  string   `json:"blueprint_id"`
		Name         string   `json:"name"`
		Tier         string   `json:"tier"`
		Stage        uint32   `json:"stage"`
		Tags         []string `json:"tags"`
		ArtifactPath string   `json:"artifact_path"`
		Checksum     string   `json:"checksum"`
		GuardDigest  string   `json:"guard_digest"`
		PrewarmP50   float32  `json:"prewarm_p50_ms"`
		PrewarmP95   float32  `json:"prewarm_p95_ms"`
		Problem      string   `json:"problem,omitempty"`
	}{
		e.BlueprintID, e.Name, tierText(e.Tier), e.Stage, append([]string{}, e.Tags...), e.ArtifactPath,
		e.Checksum, e.GuardDigest, e.PrewarmP50, e.PrewarmP95, e.Problem,
	})
}

// entryReader reads what an index needs from rows, a tenth of the work of
// decodeRow. Its memory is used again for every row.
type entryReader struct {
	metadata metadata
	samples  []float64
	tags     []string
	strings  []byte
}

// read returns the entry of a row. It holds nothing of the row's memory.
func (r *entryReader) read(row *Row) Entry {
	e := Entry{BlueprintID: row.BlueprintID, Name: row.Name, ArtifactPath: row.ArtifactPath}
	r.tags = r.tags[:0]
	if err := r.readMetadata(&e, row); err != nil {
		e.Tier = tierOf(row.Tier, 0)
		e.Problem = err.Error()
	}
	r.own(&e)
	return e
}

func (r *entryReader) readMetadata(e *Entry, row *Row) error {
	if err := r.metadata.parse(row); err != nil {
		return err
	}
	if err := e.readDescriptor(&r.metadata.descriptor, row); err != nil {
		return malformed(row.BlueprintID, "descriptor", err)
	}
	for _, member := range r.metadata.extras.members {
		var err error
		switch member.name {
		case "checksum":
			e.Checksum, err = stringOrNull(member.value)
		case "guard_digest":
			e.GuardDigest, err = stringOrNull(member.value)
		case "prewarm_samples":
			r.samples = appendNumbers(r.samples[:0], member.value)
			e.PrewarmP50, e.PrewarmP95 = percentiles(r.samples)
		case "tags":
			r.tags = appendStrings(r.tags[:0], member.value)
		}
		if err != nil {
			return malformed(row.BlueprintID, member.name, err)
		}
	}
	return nil
}

// own copies the strings of an entry into one piece of memory, so that the row
// can be freed: one allocation instead of eight, and less of it.
func (r *entryReader) own(e *Entry) {
	if len(r.tags) > 0 {
		e.Tags = slices.Clone(r.tags)
	}
	r.strings = r.strings[:0]
	eachString(e, func(s *string) { r.strings = append(r.strings, *s...) })
	rest := string(r.strings)
	eachString(e, func(s *string) { *s, rest = rest[:len(*s)], rest[len(*s):] })
}

func eachString(e *Entry, each func(*string)) {
	for _, s := range [...]*string{&e.BlueprintID, &e.Name, &e.ArtifactPath, &e.Checksum, &e.GuardDigest, &e.Problem} {
		each(s)
	}
	for i := range e.Tags {
		each(&e.Tags[i])
	}
}

// readDescriptor reads name, tier and stage where they have their usual form,
// and leaves everything else to the protobuf decoder.
func (e *Entry) readDescriptor(members *object, row *Row) error {
	name, named := members.get("name")
	stage, staged := members.get("stage")
	_, tiered := leylinepb.BlueprintTier_value[row.Tier]
	number, err := strconv.ParseUint(stage, 10, 32)
	text, nameErr := unquote(name)
	if tiered && named && nameErr == nil && text != "" && (err == nil || !staged) {
		e.Tier, e.Stage = tierOf(row.Tier, 0), uint32(number)
		e.Name = text
		return nil
	}
	descriptor, err := decodeDescriptor(members)
	if err != nil {
		return err
	}
	if descriptor.Name != "" {
		e.Name = descriptor.Name
	}
	e.Tier, e.Stage = tierOf(row.Tier, descriptor.Tier), descriptor.Stage
	return nil
}

var rowSeed = maphash.MakeSeed()

// fingerprint tells rows apart without keeping them.
func (r *Row) fingerprint() uint64 {
	var h maphash.Hash
	h.SetSeed(rowSeed)
	for _, column := range [...]string{r.BlueprintID, r.Name, r.Tier, r.ArtifactPath, r.Metadata} {
		h.WriteString(column)
		h.WriteByte(0xff) // never part of UTF-8
	}
	return h.Sum64()
}
