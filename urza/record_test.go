package urza_test

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/urza"
)

// oddRow is a row with everything that a save must not lose.
func oddRow() urza.Row {
	return urza.Row{
		BlueprintID:  "ODD",
		Name:         "odd",
		Tier:         "2",
		ArtifactPath: "var/urza/ODD.pt",
		Metadata: `{"blueprint_id": "ODD", "name": "odd", "future": {"b": 1.0, "a": [1e5, NaN]}, ` +
			`"allowed_parameters": {"scale": {"min_value": 0.5, "max_value": 2.0, "step": 0.25}, "x": {"max_value": -Infinity}}, ` +
			`"risk": 0.4000, "_urza": {"guard_digest": null, "prewarm_samples": [24.100000381469727, 6], ` +
			`"artifact_mtime": 1795423169.6400316, "zeta": 1, "compile_ms": 104.0, "alpha": "\u00e4", "prewarm_ms": NaN, ` +
			`"tags": ["Vision"], "guard_spec": [{"shape": [1, 16]}]}, "name2": null}`,
	}
}

// library returns a library over rows in memory.
func library(t testing.TB, rows ...urza.Row) (*urza.Library, *urza.Memory) {
	t.Helper()
	m := urza.NewMemory()
	for _, r := range rows {
		put(t, m, r)
	}
	peer := m.Peer()
	return open(t, urza.Config{WorkDir: t.TempDir(), Catalogue: m}), peer
}

func metadataOf(t testing.TB, c urza.Catalogue, id string) urza.Row {
	t.Helper()
	r, found, err := c.Row(t.Context(), id)
	if err != nil || !found {
		t.Fatal(found, err)
	}
	return r
}

func TestUpdateWithoutChangeKeepsEveryByte(t *testing.T) {
	odd := oddRow()
	odd.Tier = "BLUEPRINT_TIER_FROM_THE_FUTURE"
	odd.Metadata = strings.Replace(odd.Metadata, `, "x": {"max_value": -Infinity}`, "", 1)
	l, peer := library(t, odd)
	if _, err := l.Update(t.Context(), "ODD", func(*urza.Record) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(odd, metadataOf(t, peer, "ODD")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestUpdateKeepsWhatItDoesNotKnow(t *testing.T) {
	odd := oddRow()
	odd.Metadata = strings.Replace(odd.Metadata, `-Infinity`, `"-Infinity"`, 1)
	l, peer := library(t, odd)
	if e, _ := l.Lookup("ODD"); e.Tier != leylinepb.BlueprintTier_BLUEPRINT_TIER_EXPERIMENTAL {
		t.Errorf("tier in the index: %v", e.Tier)
	}
	_, err := l.Update(t.Context(), "ODD", func(r *urza.Record) error {
		r.Descriptor.Stage = 7
		r.Descriptor.Risk = 0.95
		r.Descriptor.AllowedParameters["width"] = &leylinepb.BlueprintParameterBounds{MinValue: 16, MaxValue: 1e22}
		delete(r.Descriptor.AllowedParameters, "x")
		r.GuardDigest = "</x> naïve \u2028"
		r.PrewarmSamples = append(r.PrewarmSamples, float64(float32(24.1)), 1e-6)
		r.CompileStrategy, r.EagerFallback = "eager", true
		r.Extra["bsds"] = json.RawMessage(` {"hazard_band":"HIGH"} `)
		delete(r.Extra, "zeta")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := odd
	want.Tier = "BLUEPRINT_TIER_EXPERIMENTAL"
	want.Metadata = `{"blueprint_id":"ODD","name":"odd","future":{"b": 1.0, "a": [1e5, NaN]},` +
		`"allowed_parameters":{"scale":{"min_value": 0.5, "max_value": 2.0, "step": 0.25},"width":{"min_value":16.0,"max_value":1e+22}},` +
		`"risk":0.95,"_urza":{"guard_digest":"</x> naïve \u2028","prewarm_samples":[24.100000381469727,6.0,24.100000381469727,1e-06],` +
		`"artifact_mtime":1795423169.6400316,"compile_ms":104.0,"alpha":"\u00e4","prewarm_ms":NaN,` +
		`"tags":["Vision"],"guard_spec":[{"shape": [1, 16]}],"compile_strategy":"eager","eager_fallback":true,"bsds":{"hazard_band":"HIGH"}},` +
		`"name2":null,"tier":"BLUEPRINT_TIER_EXPERIMENTAL","stage":7}`
	if diff := cmp.Diff(want, metadataOf(t, peer, "ODD")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAddKeepsWhatItDoesNotKnow(t *testing.T) {
	odd := oddRow()
	odd.Metadata = strings.Replace(odd.Metadata, `-Infinity`, `"-Infinity"`, 1)
	l, peer := library(t, odd)
	r, err := l.Add(t.Context(), urza.Addition{
		BlueprintID: "ODD", Reader: strings.NewReader("x"), Descriptor: &leylinepb.BlueprintDescriptor{Name: "new", Stage: 1},
		Update: &leylinepb.KernelCatalogUpdate{CompileMs: 1.5, PrewarmMs: 24.1, GuardDigest: "g"},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := metadataOf(t, peer, "ODD")
	for _, part := range []string{
		`"future":{"b": 1.0, "a": [1e5, NaN]}`, `"zeta":1,"compile_ms":1.5,"alpha":"\u00e4","prewarm_ms":24.100000381469727`,
		`"prewarm_samples":[24.100000381469727,6.0,24.100000381469727]`, `"guard_digest":"g"`, `"checksum":"` + sumOf("x") + `"`,
	} {
		if !strings.Contains(got.Metadata, part) {
			t.Errorf("%s is not in\n%s", part, got.Metadata)
		}
	}
	if got.Name != "new" || got.Tier != "BLUEPRINT_TIER_UNSPECIFIED" || got.ArtifactPath != r.ArtifactPath {
		t.Errorf("columns: %+v", got)
	}
	want := &leylinepb.KernelCatalogUpdate{
		BlueprintId: "ODD", ArtifactRef: r.ArtifactPath, Checksum: sumOf("x"), GuardDigest: "g", CompileMs: 1.5, PrewarmMs: 24.1,
	}
	if diff := cmp.Diff(want, r.CatalogUpdate(), protocmp.Transform()); diff != "" {
		t.Errorf("catalogue update (-want +got):\n%s", diff)
	}
}

func TestNewRecordLooksLikePythons(t *testing.T) {
	l, peer := library(t)
	if _, err := l.Add(t.Context(), urza.Addition{
		BlueprintID: "NEW", Reader: strings.NewReader("x"),
		Descriptor: &leylinepb.BlueprintDescriptor{Name: "n", Tier: leylinepb.BlueprintTier_BLUEPRINT_TIER_HIGH_RISK, Risk: 1, QuarantineOnly: true},
	}); err != nil {
		t.Fatal(err)
	}
	var got struct {
		BlueprintID string          `json:"blueprint_id"`
		Risk        json.RawMessage `json:"risk"`
		Quarantine  bool            `json:"quarantine_only"`
		Extras      map[string]any  `json:"_urza"`
	}
	row := metadataOf(t, peer, "NEW")
	if err := json.Unmarshal([]byte(row.Metadata), &got); err != nil {
		t.Fatal(err)
	}
	modified := got.Extras["artifact_mtime"].(float64)
	if now := float64(stat(t, l, row.ArtifactPath).UnixNano()) / 1e9; math.Abs(now-modified) > 1e-6 {
		t.Errorf("artifact_mtime %f, the file has %f", modified, now)
	}
	delete(got.Extras, "artifact_mtime")
	want := map[string]any{"guard_digest": nil, "prewarm_samples": []any{}, "checksum": sumOf("x")}
	if diff := cmp.Diff(want, got.Extras); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got.BlueprintID != "NEW" || string(got.Risk) != "1.0" || !got.Quarantine || row.Tier != "BLUEPRINT_TIER_HIGH_RISK" {
		t.Errorf("row: %+v", row)
	}
}

func TestMalformedRecords(t *testing.T) {
	for name, metadata := range map[string]string{
		"empty":           ``,
		"no object":       `[]`,
		"cut off":         `{"name":"x"`,
		"extras":          `{"_urza":[]}`,
		"checksum":        `{"_urza":{"checksum":7}}`,
		"guard digest":    `{"_urza":{"guard_digest":{}}}`,
		"descriptor":      `{"stage":"many"}`,
		"trailing":        `{} {}`,
		"control":         "{\"name\":\"\x01\"}",
		"endless nesting": strings.Repeat(`{"a":`, 100000),
	} {
		var events []urza.IntegrityEvent
		m := urza.NewMemory()
		put(t, m, urza.Row{BlueprintID: "BAD", Metadata: metadata})
		l := open(t, urza.Config{WorkDir: t.TempDir(), Catalogue: m, OnIntegrity: func(e urza.IntegrityEvent) { events = append(events, e) }})
		if e, ok := l.Lookup("BAD"); !ok || e.Problem == "" {
			t.Errorf("%s: %+v, %t", name, e, ok)
		}
		for range 2 {
			answer, err := l.Answer(t.Context(), request("r", "BAD"))
			if failure, ok := answer.(*leylinepb.KernelArtifactError); err != nil || !ok || failure.GetReason() != urza.ReasonMalformedRecord {
				t.Errorf("%s: %v, %v", name, answer, err)
			}
		}
		if len(events) != 1 || events[0].Kind != urza.KindMalformedRecord {
			t.Errorf("%s: events %v", name, events)
		}
		if _, err := l.Record(t.Context(), "BAD"); !errors.Is(err, urza.ErrMalformed) {
			t.Errorf("%s: record: %v", name, err)
		}
		if _, err := l.Update(t.Context(), "BAD", func(*urza.Record) error { return nil }); !errors.Is(err, urza.ErrMalformed) {
			t.Errorf("%s: update: %v", name, err)
		}
		if err := l.Remove(t.Context(), "BAD"); err != nil {
			t.Errorf("%s: remove: %v", name, err)
		}
	}
}

func TestExtraIsChecked(t *testing.T) {
	l, _ := library(t, oddRowWithoutInfinity())
	for name, edit := range map[string]func(*urza.Record) error{
		"no JSON":        func(r *urza.Record) error { r.Extra["x"] = json.RawMessage(`{`); return nil },
		"two values":     func(r *urza.Record) error { r.Extra["x"] = json.RawMessage(`1,2`); return nil },
		"field's name":   func(r *urza.Record) error { r.Extra["checksum"] = json.RawMessage(`1`); return nil },
		"spec":           func(r *urza.Record) error { r.GuardSpec = append(r.GuardSpec, json.RawMessage(`}`)); return nil },
		"another's id":   func(r *urza.Record) error { r.Descriptor.BlueprintId = "OTHER"; return nil },
		"edit's refusal": func(*urza.Record) error { return os.ErrInvalid },
	} {
		if _, err := l.Update(t.Context(), "ODD", edit); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func oddRowWithoutInfinity() urza.Row {
	odd := oddRow()
	odd.Metadata = strings.Replace(odd.Metadata, `-Infinity`, `"-Infinity"`, 1)
	return odd
}

func FuzzMetadata(f *testing.F) {
	f.Add(oddRow().Metadata)
	f.Add(oddRowWithoutInfinity().Metadata)
	f.Add(`{"name":"n","stage":3,"_urza":{"checksum":"c","guard_digest":"g","prewarm_samples":[1,2.5e3],"tags":["a"]}}`)
	f.Add(`{"a":1,"a":2,"_urza":null}`)
	f.Add(`{"\u005furza":{"tags":["\ud800"]}}`)
	f.Fuzz(func(t *testing.T, metadata string) {
		row := urza.Row{BlueprintID: "ID", Name: "name", Tier: "BLUEPRINT_TIER_SAFE", ArtifactPath: "a", Metadata: metadata}
		entry, record, err := urza.Decode(row)
		if (entry.Problem != "") && err == nil {
			t.Fatalf("the index finds %s, the record does not", entry.Problem)
		}
		if err != nil {
			return
		}
		if entry.Checksum != record.Checksum || entry.GuardDigest != record.GuardDigest || entry.Stage != record.Descriptor.GetStage() ||
			entry.Name != record.Descriptor.GetName() || entry.Tier != record.Descriptor.GetTier() {
			t.Fatalf("index and record differ:\n%+v\n%+v", entry, record)
		}
		same, err := urza.Encode(record)
		if err != nil || same != row {
			t.Fatalf("not the same without a change (%v):\n%s\n%s", err, row, same)
		}
		record.CompileStrategy, record.Descriptor.Stage = "fuzzed", 4711
		changed, err := urza.Encode(record)
		if err != nil {
			t.Fatal(err)
		}
		_, again, err := urza.Decode(changed)
		if err != nil {
			t.Fatalf("cannot be read back: %v\n%s", err, changed.Metadata)
		}
		if diff := cmp.Diff(record.Extra, again.Extra); diff != "" || again.CompileStrategy != "fuzzed" || again.Descriptor.GetStage() != 4711 {
			t.Fatalf("lost in a save: %s\n%s", diff, changed.Metadata)
		}
		if json.Valid([]byte(metadata)) && !json.Valid([]byte(changed.Metadata)) {
			t.Fatalf("JSON became something else: %s", changed.Metadata)
		}
	})
}
