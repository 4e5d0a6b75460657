package urza_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/urza"
)

func sumOf(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

// artifacts returns the content of every file below the artifact directory.
func artifacts(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	top := filepath.Join(dir, "var/urza/artifacts")
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		name, _ := filepath.Rel(top, path)
		files[filepath.ToSlash(name)] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func add(t testing.TB, l *urza.Library, id, content string) *urza.Record {
	t.Helper()
	r, err := l.Add(t.Context(), urza.Addition{BlueprintID: id, File: id + ".pt", Reader: strings.NewReader(content)})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAddStoresAndReplaces(t *testing.T) {
	dir := t.TempDir()
	l := open(t, urza.Config{WorkDir: dir})
	source := filepath.Join(dir, "kernel.pt")
	if err := os.WriteFile(source, []byte("first"), 0o600); err != nil {
		t.Fatal(err)
	}
	var progress []int64
	r, err := l.Add(t.Context(), urza.Addition{
		BlueprintID: "BP1", File: source,
		Descriptor: &leylinepb.BlueprintDescriptor{Name: "one", Tier: leylinepb.BlueprintTier_BLUEPRINT_TIER_SAFE, Risk: 0.4},
		Update:     &leylinepb.KernelCatalogUpdate{GuardDigest: "g", PrewarmMs: 24.1, CompileMs: 3},
		Edit:       func(r *urza.Record) error { r.Tags = []string{"Vision"}; return nil },
		Progress:   func(done, total int64) { progress = append(progress, done, total) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int64{5, 5}, progress); diff != "" {
		t.Errorf("progress (-want +got):\n%s", diff)
	}
	if r.Checksum != sumOf("first") || filepath.Dir(r.ArtifactPath) != "var/urza/artifacts" || filepath.Ext(r.ArtifactPath) != ".pt" {
		t.Errorf("record: checksum %s, path %s", r.Checksum, r.ArtifactPath)
	}
	first := r.ArtifactPath

	// A second version without an update keeps the figures of the first.
	r = add(t, l, "BP1", "second")
	if r.GuardDigest != "g" || r.Descriptor.GetName() != "one" || len(r.PrewarmSamples) != 1 || r.Tags[0] != "Vision" {
		t.Errorf("second version lost something: %+v", r)
	}
	if r.Checksum != sumOf("second") || r.ArtifactPath == first {
		t.Errorf("second version: checksum %s, path %s", r.Checksum, r.ArtifactPath)
	}
	want := map[string]string{filepath.Base(r.ArtifactPath): "second"}
	if diff := cmp.Diff(want, artifacts(t, dir)); diff != "" {
		t.Errorf("artifacts (-want +got):\n%s", diff)
	}

	a, err := l.Resolve(t.Context(), "BP1")
	if err != nil || a.Checksum != r.Checksum || a.Size != 6 || a.Entry.GuardDigest != "g" {
		t.Errorf("resolve: %+v, %v", a, err)
	}
	if err := l.Remove(t.Context(), "BP1"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{}, artifacts(t, dir)); diff != "" {
		t.Errorf("artifacts after removal (-want +got):\n%s", diff)
	}
	if err := l.Remove(t.Context(), "BP1"); !errors.Is(err, urza.ErrNotFound) {
		t.Errorf("second removal: %v", err)
	}
	if _, err := l.Resolve(t.Context(), "BP1"); !errors.Is(err, urza.ErrNotFound) {
		t.Errorf("resolve after removal: %v", err)
	}
}

func TestAddRefuses(t *testing.T) {
	dir := t.TempDir()
	l := open(t, urza.Config{WorkDir: dir, MaxArtifactBytes: 8})
	before := add(t, l, "BP1", "version1")
	broken := errors.New("broken")
	for _, test := range []struct {
		name     string
		addition urza.Addition
		want     error // nil: any
	}{
		{"no id", urza.Addition{Reader: strings.NewReader("x")}, nil},
		{"NUL in id", urza.Addition{BlueprintID: "a\x00b", Reader: strings.NewReader("x")}, nil},
		{"another descriptor", urza.Addition{
			BlueprintID: "BP1", Reader: strings.NewReader("x"), Descriptor: &leylinepb.BlueprintDescriptor{BlueprintId: "BP2"},
		}, nil},
		{"too large", urza.Addition{BlueprintID: "BP1", Reader: strings.NewReader("123456789")}, urza.ErrTooLarge},
		{"unreadable", urza.Addition{BlueprintID: "BP1", Reader: io.MultiReader(strings.NewReader("x"), failing{broken})}, broken},
		{"refused by edit", urza.Addition{
			BlueprintID: "BP1", Reader: strings.NewReader("x"), Edit: func(*urza.Record) error { return broken },
		}, broken},
		{"no such file", urza.Addition{BlueprintID: "BP1", File: filepath.Join(dir, "none")}, fs.ErrNotExist},
		{"folder", urza.Addition{BlueprintID: "BP1", File: dir}, nil},
	} {
		if _, err := l.Add(t.Context(), test.addition); err == nil || test.want != nil && !errors.Is(err, test.want) {
			t.Errorf("%s: got error %v", test.name, err)
		}
	}
	_, err := l.Add(t.Context(), urza.Addition{
		BlueprintID: "BP1", Reader: strings.NewReader("x"), Update: &leylinepb.KernelCatalogUpdate{Checksum: sumOf("y")},
	})
	if mismatch, ok := errors.AsType[*urza.ChecksumError](err); !ok || mismatch.Want != sumOf("y") || mismatch.Got != sumOf("x") {
		t.Errorf("wrong checksum: %v", err)
	}
	want := map[string]string{filepath.Base(before.ArtifactPath): "version1"}
	if diff := cmp.Diff(want, artifacts(t, dir)); diff != "" {
		t.Errorf("artifacts (-want +got):\n%s", diff)
	}
	if a, err := l.Resolve(t.Context(), "BP1"); err != nil || a.Checksum != sumOf("version1") {
		t.Errorf("resolve: %v, %v", a, err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestAddWithoutSpace(t *testing.T) {
	dir := t.TempDir()
	l := open(t, urza.Config{WorkDir: dir, MinFreeBytes: 1 << 60})
	_, err := l.Add(t.Context(), urza.Addition{BlueprintID: "BP1", Reader: strings.NewReader("x")})
	if !errors.Is(err, urza.ErrNoSpace) {
		t.Errorf("got %v, want ErrNoSpace", err)
	}
}

func TestSameFileNameDoesNotCollide(t *testing.T) {
	dir := t.TempDir()
	l := open(t, urza.Config{WorkDir: dir})
	for id, content := range map[string]string{"A": "from a", "B": "from b", "a": "small", "x/../y": "dots"} {
		if err := os.MkdirAll(filepath.Join(dir, hex.EncodeToString([]byte(id))), 0o755); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, hex.EncodeToString([]byte(id)), "kernel.pt")
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Add(t.Context(), urza.Addition{BlueprintID: id, File: file}); err != nil {
			t.Fatal(err)
		}
	}
	for id, content := range map[string]string{"A": "from a", "B": "from b", "a": "small", "x/../y": "dots"} {
		a, err := l.Resolve(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(dir, a.Entry.ArtifactPath))
		if err != nil || !bytes.Equal(got, []byte(content)) {
			t.Errorf("%s: %q, %v", id, got, err)
		}
	}
}

func TestUpdateLeavesTheArtifactAlone(t *testing.T) {
	l := open(t, urza.Config{WorkDir: workDir(t, "catalog")})
	before, err := l.Record(t.Context(), "BP001")
	if err != nil {
		t.Fatal(err)
	}
	after, err := l.Update(t.Context(), "BP001", func(r *urza.Record) error {
		r.Descriptor.Stage = 3
		r.Checksum, r.ArtifactPath, r.ArtifactModTime = "", "elsewhere", 0
		for range 2 * urza.MaxPrewarmSamples {
			r.PrewarmSamples = append(r.PrewarmSamples, 7)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if after.Checksum != before.Checksum || after.ArtifactPath != before.ArtifactPath || after.ArtifactModTime != before.ArtifactModTime {
		t.Errorf("the artifact's part of the record changed: %+v", after)
	}
	if len(after.PrewarmSamples) != urza.MaxPrewarmSamples || after.Descriptor.GetStage() != 3 {
		t.Errorf("%d samples, stage %d", len(after.PrewarmSamples), after.Descriptor.GetStage())
	}
	if e, _ := l.Lookup("BP001"); e.Stage != 3 || e.PrewarmP50 != 7 {
		t.Errorf("index: %+v", e)
	}
	if _, err := l.Update(t.Context(), "BP404", func(*urza.Record) error { return nil }); !errors.Is(err, urza.ErrNotFound) {
		t.Errorf("update of nothing: %v", err)
	}
}
