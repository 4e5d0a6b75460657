package urza_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/urza"
)

// workDir returns a copy of a working directory with a library in it.
func workDir(t testing.TB, from string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "var"), os.DirFS(filepath.Join("testdata", from, "var"))); err != nil {
		t.Fatal(err)
	}
	return dir
}

// open opens the library of a working directory, with whatever else cfg says.
func open(t testing.TB, cfg urza.Config) *urza.Library {
	t.Helper()
	l, err := urza.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func readJSON(t testing.TB, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatal(err)
	}
}

type expected struct {
	Replies []struct {
		BlueprintID string          `json:"blueprint_id"`
		Kind        string          `json:"kind"`
		Fields      json.RawMessage `json:"fields"`
	} `json:"replies"`
	Queries struct {
		Tier  map[string][]string `json:"tier"`
		Stage map[string][]string `json:"stage"`
		Tag   map[string][]string `json:"tag"`
	} `json:"queries"`
}

func TestVectorAnswers(t *testing.T) {
	var want expected
	readJSON(t, "testdata/catalog/expected.json", &want)
	l := open(t, urza.Config{WorkDir: workDir(t, "catalog")})
	for range 2 { // the second time from the index and the proofs
		for _, reply := range want.Replies {
			got, err := l.Answer(t.Context(), &leylinepb.KernelPrefetchRequest{
				RequestId: "r-" + reply.BlueprintID, BlueprintId: reply.BlueprintID,
			})
			if err != nil {
				t.Fatal(err)
			}
			var answer proto.Message = &leylinepb.KernelArtifactReady{}
			if reply.Kind == "error" {
				answer = &leylinepb.KernelArtifactError{}
			}
			unmarshal(t, reply.Fields, answer)
			setRequestID(answer, "r-"+reply.BlueprintID)
			if diff := cmp.Diff(answer, got, protocmp.Transform()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", reply.BlueprintID, diff)
			}
		}
	}
}

func setRequestID(answer proto.Message, id string) {
	switch a := answer.(type) {
	case *leylinepb.KernelArtifactReady:
		a.RequestId = id
	case *leylinepb.KernelArtifactError:
		a.RequestId = id
	}
}

func TestVectorQueries(t *testing.T) {
	var want expected
	readJSON(t, "testdata/catalog/expected.json", &want)
	l := open(t, urza.Config{WorkDir: workDir(t, "catalog")})
	check := func(name string, q urza.Query, want []string) {
		got := []string{}
		for _, e := range l.List(q) {
			got = append(got, e.BlueprintID)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for name, ids := range want.Queries.Tier {
		check(name, urza.Query{Tier: new(leylinepb.BlueprintTier(leylinepb.BlueprintTier_value[name]))}, ids)
	}
	for stage, ids := range want.Queries.Stage {
		n, err := strconv.ParseUint(stage, 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		check("stage "+stage, urza.Query{Stage: new(uint32(n))}, ids)
	}
	for tag, ids := range want.Queries.Tag {
		check("tag "+tag, urza.Query{Tag: tag}, ids)
	}
	check("tag VISION", urza.Query{Tag: "VISION"}, []string{"BP001"})
	check("prefix", urza.Query{NamePrefix: "BAD_"}, []string{"BAD_CHECKSUM", "BAD_MISSING", "BAD_NOCHECK"})
	check("tag and stage", urza.Query{Tag: "safe", Stage: new(uint32(1))}, []string{})
}

type expectedRecord struct {
	Descriptor       string            `json:"descriptor_pb_hex"`
	ArtifactPath     string            `json:"artifact_path"`
	GuardDigest      string            `json:"guard_digest"`
	PrewarmSamples   []float64         `json:"prewarm_samples"`
	ArtifactModTime  float64           `json:"artifact_mtime"`
	Checksum         string            `json:"checksum"`
	CompileMillis    *float64          `json:"compile_ms"`
	PrewarmMillis    *float64          `json:"prewarm_ms"`
	CompileStrategy  string            `json:"compile_strategy"`
	EagerFallback    bool              `json:"eager_fallback"`
	GuardSpec        []json.RawMessage `json:"guard_spec"`
	InductorCacheDir string            `json:"inductor_cache_dir"`
	GuardSpecSummary []string          `json:"guard_spec_summary"`
	Tags             []string          `json:"tags"`
	Extras           map[string]any    `json:"extras"`
}

func TestVectorRecords(t *testing.T) {
	var want map[string]*expectedRecord
	readJSON(t, "testdata/catalog/expected_records.json", &want)
	l := open(t, urza.Config{WorkDir: workDir(t, "catalog")})
	for _, id := range slices.Sorted(maps.Keys(want)) {
		got, err := l.Record(t.Context(), id)
		if want[id] == nil {
			if !errors.Is(err, urza.ErrNotFound) {
				t.Errorf("%s: got error %v, want ErrNotFound", id, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		checkRecord(t, id, want[id], got)
	}
}

func checkRecord(t *testing.T, id string, want *expectedRecord, got *urza.Record) {
	t.Helper()
	wire, err := hex.DecodeString(want.Descriptor)
	if err != nil {
		t.Fatal(err)
	}
	descriptor := &leylinepb.BlueprintDescriptor{}
	if err := proto.Unmarshal(wire, descriptor); err != nil {
		t.Fatal(err)
	}
	record := urza.Record{
		Descriptor: descriptor, ArtifactPath: want.ArtifactPath, ArtifactModTime: want.ArtifactModTime,
		Checksum: want.Checksum, GuardDigest: want.GuardDigest, PrewarmSamples: want.PrewarmSamples,
		CompileMillis: want.CompileMillis, PrewarmMillis: want.PrewarmMillis, CompileStrategy: want.CompileStrategy,
		EagerFallback: want.EagerFallback, GuardSpec: want.GuardSpec, GuardSpecSummary: want.GuardSpecSummary,
		InductorCacheDir: want.InductorCacheDir, Tags: want.Tags,
	}
	if diff := cmp.Diff(&record, got, protocmp.Transform(), cmpopts.EquateEmpty(), compareJSON,
		cmpopts.IgnoreFields(urza.Record{}, "Extra"), cmpopts.IgnoreUnexported(urza.Record{})); diff != "" {
		t.Errorf("%s (-want +got):\n%s", id, diff)
	}
	text, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	var whole struct {
		Extras map[string]any `json:"_urza"`
	}
	if err := json.Unmarshal(text, &whole); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.Extras, whole.Extras); diff != "" {
		t.Errorf("%s, extras (-want +got):\n%s", id, diff)
	}
}

// compareJSON compares JSON by what it says.
var compareJSON = cmp.Transformer("json", func(raw json.RawMessage) any {
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		return err.Error()
	}
	return value
})

func TestVectorPendingSave(t *testing.T) {
	dir := workDir(t, "catalog/pending-save")
	l := open(t, urza.Config{WorkDir: dir})
	r, err := l.Record(t.Context(), "WAL001")
	if err != nil {
		t.Fatal(err)
	}
	checkRecord(t, "WAL001", &expectedRecord{
		Descriptor: hex.EncodeToString(marshal(t, &leylinepb.BlueprintDescriptor{
			BlueprintId: "WAL001", Name: "wal case", Tier: leylinepb.BlueprintTier_BLUEPRINT_TIER_EXPERIMENTAL, Stage: 3,
		})),
		ArtifactPath: "var/urza/WAL001.pt", GuardDigest: "gw", PrewarmSamples: []float64{4},
		ArtifactModTime: 1795423169.775793, Checksum: "eefe3b60372c933b82c904bbba306b8f90efb695ca4a571aaaefcf79ec226625",
		CompileMillis: new(3.0), PrewarmMillis: new(4.0), Tags: []string{"wal"},
		Extras: map[string]any{
			"guard_digest": "gw", "prewarm_samples": []any{4.0}, "artifact_mtime": 1795423169.775793,
			"checksum":   "eefe3b60372c933b82c904bbba306b8f90efb695ca4a571aaaefcf79ec226625",
			"compile_ms": 3.0, "prewarm_ms": 4.0, "tags": []any{"wal"},
		},
	}, r)
	if _, err := os.Stat(filepath.Join(dir, "var/urza/urza_wal.json")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("urza_wal.json is still there (%v)", err)
	}
	if _, err := l.Resolve(t.Context(), "WAL001"); err != nil {
		t.Error(err)
	}
}
