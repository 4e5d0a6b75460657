package urza

import (
	"encoding/json"
	"fmt"
	"strconv"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/esper-lite/esper/leyline/leylinepb"
)

// extrasKey is the member of a row's metadata that holds what is not part of
// the descriptor.
const extrasKey = "_urza"

// metadata is a row's JSON, taken apart.
type metadata struct {
	descriptor object // with every member, _urza included
	extras     object
}

func parseMetadata(row *Row) (metadata, error) {
	var m metadata
	return m, m.parse(row)
}

// parse replaces m by the metadata of row. It uses the memory of m again.
func (m *metadata) parse(row *Row) error {
	m.extras.reset()
	if err := m.descriptor.parse(row.Metadata); err != nil {
		return malformed(row.BlueprintID, "metadata", err)
	}
	text, ok := m.descriptor.get(extrasKey)
	if !ok || text == "null" {
		return nil
	}
	if err := m.extras.parse(text); err != nil {
		return malformed(row.BlueprintID, extrasKey, err)
	}
	return nil
}

func malformed(blueprintID, part string, err error) error {
	return fmt.Errorf("%w: blueprint %q: %s: %w", ErrMalformed, blueprintID, part, err)
}

// decodeRow returns the record that row holds.
func decodeRow(row Row) (*Record, error) {
	m, err := parseMetadata(&row)
	if err != nil {
		return nil, err
	}
	descriptor, err := decodeDescriptor(&m.descriptor)
	if err != nil {
		return nil, malformed(row.BlueprintID, "descriptor", err)
	}
	descriptor.BlueprintId = row.BlueprintID
	if descriptor.Name == "" {
		descriptor.Name = row.Name
	}
	descriptor.Tier = tierOf(row.Tier, descriptor.Tier)
	r := &Record{Descriptor: descriptor, ArtifactPath: row.ArtifactPath, row: &row}
	if err := r.decodeExtras(&m.extras); err != nil {
		return nil, malformed(row.BlueprintID, extrasKey, err)
	}
	return r, nil
}

// decodeDescriptor reads the members that belong to the descriptor. It hands
// nothing else to the protobuf decoder, which is stricter than Python's.
func decodeDescriptor(members *object) (*leylinepb.BlueprintDescriptor, error) {
	var known object
	descriptor := &leylinepb.BlueprintDescriptor{}
	fields := descriptor.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		if _, value, ok := fieldMember(members, fields.Get(i)); ok {
			known.set(fields.Get(i).TextName(), value)
		}
	}
	err := protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal([]byte(known.text()), descriptor)
	return descriptor, err
}

// fieldMember returns the member for a field, under either of its two names.
func fieldMember(members *object, field protoreflect.FieldDescriptor) (name, value string, ok bool) {
	for _, name := range [...]string{field.TextName(), field.JSONName()} {
		if value, ok := members.get(name); ok {
			return name, value, true
		}
	}
	return "", "", false
}

// tierOf reads the tier column: a name, or a number as text. Where it holds
// neither, the tier of the metadata stands.
func tierOf(column string, otherwise leylinepb.BlueprintTier) leylinepb.BlueprintTier {
	if number, ok := leylinepb.BlueprintTier_value[column]; ok {
		return leylinepb.BlueprintTier(number)
	}
	if number, err := strconv.ParseInt(column, 10, 32); err == nil {
		return leylinepb.BlueprintTier(number)
	}
	return otherwise
}

// decodeExtras reads the members of _urza. The two that decide what is served,
// checksum and guard digest, have to be strings: taking anything else for
// "none" would switch checks off silently. Elsewhere a value of the wrong type
// reads as none, and stays as it is when the record is saved.
func (r *Record) decodeExtras(extras *object) error {
	r.Extra = map[string]json.RawMessage{}
	for _, m := range extras.members {
		var err error
		switch m.name {
		case "checksum":
			r.Checksum, err = stringOrNull(m.value)
		case "guard_digest":
			r.GuardDigest, err = stringOrNull(m.value)
		case "prewarm_samples":
			r.PrewarmSamples = appendNumbers(nil, m.value)
		case "artifact_mtime":
			r.ArtifactModTime, _ = parseNumber(m.value)
		case "compile_ms":
			r.CompileMillis = numberOrNil(m.value)
		case "prewarm_ms":
			r.PrewarmMillis = numberOrNil(m.value)
		case "compile_strategy":
			r.CompileStrategy, _ = stringOrNull(m.value)
		case "eager_fallback":
			r.EagerFallback = m.value == "true"
		case "guard_spec":
			r.GuardSpec = elements(m.value)
		case "guard_spec_summary":
			r.GuardSpecSummary = appendStrings(nil, m.value)
		case "inductor_cache_dir":
			r.InductorCacheDir, _ = stringOrNull(m.value)
		case "tags":
			r.Tags = appendStrings(nil, m.value)
		default:
			r.Extra[m.name] = json.RawMessage(m.value)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	return nil
}

func stringOrNull(text string) (string, error) {
	if text == "null" {
		return "", nil
	}
	return unquote(text)
}

func numberOrNil(text string) *float64 {
	if f, ok := parseNumber(text); ok {
		return &f
	}
	return nil
}

// appendNumbers appends the elements of an array that are numbers.
func appendNumbers(list []float64, text string) []float64 {
	eachElement(text, func(value string) {
		if f, ok := parseNumber(value); ok {
			list = append(list, f)
		}
	})
	return list
}

// appendStrings appends the elements of an array that are strings.
func appendStrings(list []string, text string) []string {
	eachElement(text, func(value string) {
		if s, err := unquote(value); err == nil {
			list = append(list, s)
		}
	})
	return list
}

func elements(text string) []json.RawMessage {
	var list []json.RawMessage
	eachElement(text, func(value string) { list = append(list, json.RawMessage(value)) })
	return list
}

// eachElement calls each for every element of an array that was scanned
// before; there are none in a value of another type.
func eachElement(text string, each func(value string)) {
	if text == "" || text[0] != '[' {
		return
	}
	scanElements(text, 0, 0, func(value string) error {
		each(value)
		return nil
	})
}
