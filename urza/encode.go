package urza

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/esper-lite/esper/leyline/leylinepb"
)

// maxIDBytes bounds a blueprint id, which becomes part of a file name and of
// every answer.
const maxIDBytes = 512

// encodeRow returns the row for r. What r was read from stays as it was, text
// and order, wherever r does not say something else by now.
func encodeRow(r *Record) (Row, error) {
	if err := checkID(r.BlueprintID()); err != nil {
		return Row{}, err
	}
	var before metadata
	old, known := NewRecord(r.BlueprintID()), r.row != nil && r.row.BlueprintID == r.BlueprintID()
	if known {
		var err error
		if before, err = parseMetadata(r.row); err != nil {
			return Row{}, err
		}
		if old, err = decodeRow(*r.row); err != nil {
			return Row{}, err
		}
	}
	extras, members := before.extras, before.descriptor
	if !known { // what the Python side always writes
		extras.set("guard_digest", "null")
		extras.set("prewarm_samples", "[]")
		extras.set("artifact_mtime", "null")
	}
	if err := encodeExtras(&extras, old, r); err != nil {
		return Row{}, err
	}
	if known && !extras.changed && old.ArtifactPath == r.ArtifactPath && proto.Equal(old.Descriptor, r.Descriptor) {
		return *r.row, nil
	}
	if err := encodeDescriptor(&members, r.Descriptor); err != nil {
		return Row{}, err
	}
	if extras.changed {
		members.set(extrasKey, extras.text())
	}
	row := Row{
		BlueprintID:  r.BlueprintID(),
		Name:         r.Descriptor.GetName(),
		Tier:         tierText(r.Descriptor.GetTier()),
		ArtifactPath: r.ArtifactPath,
	}
	if known {
		row.Tier = keepTier(r.row.Tier, row.Tier, r.Descriptor.GetTier())
		row.Metadata = r.row.Metadata
	}
	if members.changed {
		row.Metadata = members.text()
	}
	return row, nil
}

func checkID(id string) error {
	switch {
	case id == "":
		return errors.New("urza: empty blueprint id")
	case len(id) > maxIDBytes:
		return fmt.Errorf("urza: blueprint id of %d bytes: the limit is %d", len(id), maxIDBytes)
	case !utf8.ValidString(id), strings.ContainsRune(id, 0):
		return fmt.Errorf("urza: blueprint id %q is not plain text", id)
	}
	return nil
}

func tierText(tier leylinepb.BlueprintTier) string {
	if name, ok := leylinepb.BlueprintTier_name[int32(tier)]; ok {
		return name
	}
	return strconv.Itoa(int(tier))
}

// keepTier keeps a tier name that is not ours to know; a number becomes its name.
func keepTier(column, text string, tier leylinepb.BlueprintTier) string {
	_, err := strconv.Atoi(column)
	_, known := leylinepb.BlueprintTier_value[column]
	if column != "" && err != nil && !known && tier == leylinepb.BlueprintTier_BLUEPRINT_TIER_UNSPECIFIED {
		return column
	}
	return text
}

// encodeExtras brings the members of _urza from what old says to what r says.
func encodeExtras(extras *object, old, r *Record) error {
	put := func(name, before, now string) {
		if before != now {
			extras.set(name, nullOr(now))
		}
	}
	samples := r.PrewarmSamples[max(0, len(r.PrewarmSamples)-MaxPrewarmSamples):]
	put("guard_digest", old.GuardDigest, r.GuardDigest)
	if !slices.EqualFunc(old.PrewarmSamples, samples, sameFloat) {
		extras.set("prewarm_samples", floatArray(samples))
	}
	if !sameFloat(old.ArtifactModTime, r.ArtifactModTime) {
		extras.set("artifact_mtime", formatFloat(r.ArtifactModTime, 64))
	}
	if !sameOptional(old.CompileMillis, r.CompileMillis) {
		extras.set("compile_ms", nullOrFloat(r.CompileMillis))
	}
	if !sameOptional(old.PrewarmMillis, r.PrewarmMillis) {
		extras.set("prewarm_ms", nullOrFloat(r.PrewarmMillis))
	}
	put("checksum", old.Checksum, r.Checksum)
	put("compile_strategy", old.CompileStrategy, r.CompileStrategy)
	if old.EagerFallback != r.EagerFallback {
		extras.set("eager_fallback", strconv.FormatBool(r.EagerFallback))
	}
	put("inductor_cache_dir", old.InductorCacheDir, r.InductorCacheDir)
	if !slices.Equal(old.GuardSpecSummary, r.GuardSpecSummary) {
		extras.set("guard_spec_summary", stringArray(r.GuardSpecSummary))
	}
	if !slices.Equal(old.Tags, r.Tags) {
		extras.set("tags", stringArray(r.Tags))
	}
	if !slices.EqualFunc(old.GuardSpec, r.GuardSpec, bytesEqual) {
		text, err := rawArray(r.GuardSpec)
		if err != nil {
			return fmt.Errorf("urza: guard_spec: %w", err)
		}
		extras.set("guard_spec", text)
	}
	return encodeExtra(extras, old.Extra, r.Extra)
}

// encodeExtra does the same for the keys that have no field.
func encodeExtra(extras *object, old, now map[string]json.RawMessage) error {
	for name := range old {
		if _, ok := now[name]; !ok {
			extras.remove(name)
		}
	}
	added := make([]string, 0, len(now))
	for name, value := range now {
		if before, ok := old[name]; !ok || !bytesEqual(before, value) {
			added = append(added, name)
		}
	}
	slices.Sort(added)
	for _, name := range added {
		text := strings.TrimSpace(string(now[name]))
		if end, err := scanValue(text, 0, 0); err != nil || end != len(text) {
			return fmt.Errorf("urza: extra %q is not JSON", name)
		}
		if isTyped(name) {
			return fmt.Errorf("urza: extra %q has a field of its own", name)
		}
		extras.set(name, text)
	}
	return nil
}

func isTyped(name string) bool {
	switch name {
	case "guard_digest", "prewarm_samples", "artifact_mtime", "checksum", "compile_ms", "prewarm_ms", "compile_strategy",
		"eager_fallback", "guard_spec", "guard_spec_summary", "inductor_cache_dir", "tags":
		return true
	}
	return false
}

// sameFloat takes all NaNs for the same.
func sameFloat(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) }

func sameOptional(a, b *float64) bool {
	if a == nil || b == nil {
		return a == b
	}
	return sameFloat(*a, *b)
}

func bytesEqual(a, b json.RawMessage) bool { return bytes.Equal(a, b) }

func nullOr(s string) string {
	if s == "" {
		return "null"
	}
	return quote(s)
}

func nullOrFloat(f *float64) string {
	if f == nil {
		return "null"
	}
	return formatFloat(*f, 64)
}

func floatArray(list []float64) string {
	parts := make([]string, len(list))
	for i, f := range list {
		parts[i] = formatFloat(f, 64)
	}
	return "[" + strings.Join(parts, ",") + "]"
}

func stringArray(list []string) string {
	parts := make([]string, len(list))
	for i, s := range list {
		parts[i] = quote(s)
	}
	return "[" + strings.Join(parts, ",") + "]"
}

func rawArray(list []json.RawMessage) (string, error) {
	parts := make([]string, len(list))
	for i, raw := range list {
		parts[i] = strings.TrimSpace(string(raw))
		if end, err := scanValue(parts[i], 0, 0); err != nil || end != len(parts[i]) {
			return "", fmt.Errorf("element %d is not JSON", i)
		}
	}
	return "[" + strings.Join(parts, ",") + "]", nil
}
