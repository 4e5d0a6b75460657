package urza_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/esper-lite/esper/leyline"
	"github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/urza"
)

// reasonOf returns the reason of an error answer, or ready.
func reasonOf(t testing.TB, answer proto.Message, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if failure, ok := answer.(*leylinepb.KernelArtifactError); ok {
		return failure.GetReason()
	}
	return "ready"
}

func ask(t testing.TB, l *urza.Library, id string) string {
	t.Helper()
	answer, err := l.Answer(t.Context(), request("r", id))
	return reasonOf(t, answer, err)
}

// figures returns the metrics of a library by name, without their prefix.
func figures(l *urza.Library) map[string]float64 {
	all := map[string]float64{}
	for _, m := range l.AppendMetrics(nil) {
		all[strings.TrimPrefix(m.Name, "urza.library.")] = m.Value
	}
	return all
}

func TestPathsStayInTheLibrary(t *testing.T) {
	dir := t.TempDir()
	top := filepath.Join(dir, "var/urza")
	outside := filepath.Join(dir, "outside")
	for _, d := range []string{filepath.Join(top, "artifacts"), filepath.Join(top, "sub"), outside} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{top + "/in.pt", top + "/sub/in.pt", outside + "/out.pt", dir + "/out.pt"} {
		if err := os.WriteFile(f, []byte("content"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{
		"relative": "in.pt", "absolute": top + "/in.pt", "out": outside + "/out.pt", "outrelative": "../../outside/out.pt",
		"outdir": outside, "loop": "loop", "dangling": "nothing", "indir": "sub",
	} {
		if err := os.Symlink(to, filepath.Join(top, link)); err != nil {
			t.Skip("no links here:", err)
		}
	}
	if err := os.Symlink(dir, filepath.Join(t.TempDir(), "alias")); err != nil {
		t.Fatal(err)
	}
	fifo := makeFifo(t, filepath.Join(top, "fifo"))
	const ready, missing = "ready", urza.ReasonArtifactNotFound
	for _, test := range []struct {
		path, want string
		kind       urza.IntegrityKind
	}{
		{"var/urza/in.pt", ready, ""},
		{"./var//urza/./in.pt", ready, ""},
		{top + "/in.pt", ready, ""},
		{"var/urza/sub/../in.pt", ready, ""},
		{"var/urza/relative", ready, ""},
		{"var/urza/absolute", ready, ""},
		{"var/urza/indir/in.pt", ready, ""},
		{"var/urza/indir/../in.pt", ready, ""},
		{"var/../var/urza/in.pt", ready, ""},
		{"", missing, urza.KindOutsideRoot},
		{"out.pt", missing, urza.KindOutsideRoot},
		{"var/urza/../../out.pt", missing, urza.KindOutsideRoot},
		{"var/urza/outdir/../out.pt", missing, urza.KindOutsideRoot}, // to a shortener of text it would be inside
		{"../../../../../../../etc/hostname", missing, urza.KindOutsideRoot},
		{"/etc/hostname", missing, urza.KindOutsideRoot},
		{"/dev/zero", missing, urza.KindOutsideRoot},
		{outside + "/out.pt", missing, urza.KindOutsideRoot},
		{"var/urza/out", missing, urza.KindOutsideRoot},
		{"var/urza/outrelative", missing, urza.KindOutsideRoot},
		{"var/urza/outdir/out.pt", missing, urza.KindOutsideRoot},
		{"var/urza/in.pt\x00.txt", missing, urza.KindOutsideRoot},
		{"var/urza", missing, urza.KindArtifactMissing},
		{"var/urza/sub", missing, urza.KindArtifactMissing},
		{"var/urza/loop", missing, urza.KindArtifactMissing},
		{"var/urza/dangling", missing, urza.KindArtifactMissing},
		{"var/urza/none.pt", missing, urza.KindArtifactMissing},
		{"var/urza/in.pt/none", missing, urza.KindArtifactMissing},
		{fifo, missing, urza.KindArtifactMissing},
	} {
		m := urza.NewMemory()
		put(t, m, urza.Row{BlueprintID: "BP", ArtifactPath: test.path, Metadata: `{"_urza":{"checksum":"` + sumOf("content") + `"}}`})
		var kind urza.IntegrityKind
		l := open(t, urza.Config{WorkDir: dir, Catalogue: m, OnIntegrity: func(e urza.IntegrityEvent) { kind = e.Kind }})
		for range 2 {
			if got := ask(t, l, "BP"); got != test.want {
				t.Errorf("%q: got %s, want %s", test.path, got, test.want)
			}
		}
		if kind != test.kind {
			t.Errorf("%q: got event %q, want %q", test.path, kind, test.kind)
		}
	}
}

// A link that leads elsewhere by now must not be served by what it led to.
func TestLinksAreFollowedEveryTime(t *testing.T) {
	dir := t.TempDir()
	top := filepath.Join(dir, "var/urza")
	if err := os.MkdirAll(top, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"one", "two"} {
		if err := os.WriteFile(filepath.Join(top, name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, target := range []func(string) string{
		func(name string) string { return name },
		func(name string) string { return filepath.Join(top, name) },
	} {
		link := filepath.Join(top, "link")
		os.Remove(link)
		if err := os.Symlink(target("one"), link); err != nil {
			t.Skip("no links here:", err)
		}
		m := urza.NewMemory()
		put(t, m, urza.Row{BlueprintID: "BP", ArtifactPath: "var/urza/link", Metadata: `{"_urza":{"checksum":"` + sumOf("one") + `"}}`})
		l := open(t, urza.Config{WorkDir: dir, Catalogue: m})
		if got := ask(t, l, "BP"); got != "ready" {
			t.Fatal(got)
		}
		os.Remove(link)
		if err := os.Symlink(target("two"), link); err != nil {
			t.Fatal(err)
		}
		if got := ask(t, l, "BP"); got != urza.ReasonChecksumMismatch {
			t.Errorf("after the link was changed: %s", got)
		}
	}
}

func TestChangedFilesAreHashedAgain(t *testing.T) {
	dir := t.TempDir()
	l := open(t, urza.Config{WorkDir: dir})
	r := add(t, l, "BP", "content")
	path := filepath.Join(dir, r.ArtifactPath)
	if got := ask(t, l, "BP"); got != "ready" {
		t.Fatal(got)
	}
	modified := stat(t, l, r.ArtifactPath)
	// The same size and modification time: only the change time tells.
	if err := os.WriteFile(path, []byte("CONTENT"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, modified, modified); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, l, "BP"); got != urza.ReasonChecksumMismatch {
		t.Errorf("after the content was changed: %s", got)
	}
	if err := os.WriteFile(path, []byte("content"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, l, "BP"); got != "ready" {
		t.Errorf("after the content was put back: %s", got)
	}
	os.Remove(path)
	if got := ask(t, l, "BP"); got != urza.ReasonArtifactNotFound {
		t.Errorf("after the file was removed: %s", got)
	}
	if got := figures(l)["integrity_failures"]; got != 2 {
		t.Errorf("%v integrity failures", got)
	}
}

// What another process saved is found by the request that needs it, whatever
// the index knows.
func TestOthersSavesAreFoundAtOnce(t *testing.T) {
	dir := t.TempDir()
	ours := open(t, urza.Config{WorkDir: dir, RefreshInterval: time.Hour})
	theirs := open(t, urza.Config{WorkDir: dir, RefreshInterval: time.Hour})
	if got := ask(t, ours, "BP"); got != urza.ReasonMissingArtifact {
		t.Fatal(got)
	}
	for _, content := range []string{"first", "second", "third"} {
		add(t, theirs, "BP", content)
		artifact, err := ours.Resolve(t.Context(), "BP")
		if err != nil || artifact.Checksum != sumOf(content) {
			t.Errorf("%s: %+v, %v", content, artifact, err)
		}
	}
	// Overwritten in place, as the Python side does it: file first, then row.
	r, err := theirs.Record(t.Context(), "BP")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, r.ArtifactPath), []byte("fourth"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, ours, "BP"); got != urza.ReasonChecksumMismatch {
		t.Errorf("before the row was written: %s", got)
	}
	db := openRaw(t, filepath.Join(dir, "var/urza/catalog.db"))
	defer db.Close()
	if _, err := db.Exec("UPDATE blueprints SET metadata_json = ?", `{"_urza":{"checksum":"`+sumOf("fourth")+`"}}`); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, ours, "BP"); got != "ready" {
		t.Errorf("after the row was written: %s", got)
	}
	if err := theirs.Remove(t.Context(), "BP"); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, ours, "BP"); got != urza.ReasonMissingArtifact {
		t.Errorf("after it was removed: %s", got)
	}
}

func TestRefreshFindsChanges(t *testing.T) {
	dir := t.TempDir()
	ours := open(t, urza.Config{WorkDir: dir, RefreshInterval: time.Hour})
	theirs := open(t, urza.Config{WorkDir: dir, RefreshInterval: time.Hour})
	for _, id := range []string{"A", "B", "C"} {
		add(t, theirs, id, id)
	}
	add(t, ours, "OWN", "own")
	if err := theirs.Remove(t.Context(), "B"); err != nil {
		t.Fatal(err)
	}
	if err := ours.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, e := range ours.List(urza.Query{}) {
		ids = append(ids, e.BlueprintID)
	}
	if diff := cmp.Diff([]string{"A", "C", "OWN"}, ids); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := figures(ours)["cache_size"]; got != 3 {
		t.Errorf("cache_size is %v", got)
	}
}

func TestExpiredArtifactsAreNotServed(t *testing.T) {
	dir := t.TempDir()
	l := open(t, urza.Config{WorkDir: dir, CacheTTL: time.Minute})
	r := add(t, l, "BP", "content")
	if got := ask(t, l, "BP"); got != "ready" {
		t.Fatal(got)
	}
	old := time.Now().Add(-2 * time.Minute)
	if err := os.Chtimes(filepath.Join(dir, r.ArtifactPath), old, old); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, l, "BP"); got != urza.ReasonMissingArtifact {
		t.Error(got)
	}
	if got := figures(l); got["cache_expired"] != 1 || got["integrity_failures"] != 0 {
		t.Error(got)
	}
	if _, err := os.Stat(filepath.Join(dir, r.ArtifactPath)); err != nil {
		t.Errorf("the file of an expired artifact: %v", err)
	}
}

func TestClosedLibrary(t *testing.T) {
	l := open(t, urza.Config{WorkDir: t.TempDir()})
	add(t, l, "BP", "content")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	_, resolveErr := l.Resolve(t.Context(), "BP")
	_, answerErr := l.Answer(t.Context(), request("r", "BP"))
	_, addErr := l.Add(t.Context(), urza.Addition{BlueprintID: "BP", Reader: strings.NewReader("x")})
	_, updateErr := l.Update(t.Context(), "BP", func(*urza.Record) error { return nil })
	_, recordErr := l.Record(t.Context(), "BP")
	_, verifyErr := l.Verify(t.Context(), nil, nil)
	_, maintainErr := l.Maintain(t.Context(), urza.MaintenanceOptions{})
	for i, err := range []error{resolveErr, answerErr, addErr, updateErr, recordErr, verifyErr, maintainErr, l.Remove(t.Context(), "BP"), l.Refresh(t.Context())} {
		if !errors.Is(err, urza.ErrClosed) {
			t.Errorf("call %d: got %v, want ErrClosed", i, err)
		}
	}
}

func TestMetricNames(t *testing.T) {
	l := open(t, urza.Config{WorkDir: workDir(t, "catalog")})
	ask(t, l, "BP001")
	ask(t, l, "BP404")
	ask(t, l, "BAD_CHECKSUM")
	type figure struct {
		Name, Unit string
		Value      float64
	}
	var got []figure
	for _, m := range l.AppendMetrics(nil) {
		if m.Unit == leyline.UnitMillis {
			m.Value = 0
		}
		got = append(got, figure{m.Name, m.Unit, m.Value})
	}
	want := []figure{
		{"urza.library.cache_hits", "count", 2},
		{"urza.library.cache_misses", "count", 1},
		{"urza.library.cache_errors", "count", 0},
		{"urza.library.cache_expired", "count", 0},
		{"urza.library.cache_size", "count", 8},
		{"urza.library.lookup_latency_ms", "ms", 0},
		{"urza.library.evictions", "count", 0},
		{"urza.library.integrity_failures", "count", 1},
		{"urza.library.slow_queries", "count", 0},
		{"urza.library.breaker_open_total", "count", 0},
		{"urza.library.breaker_denied", "count", 0},
		{"urza.library.breaker_state", "count", 1},
		{"urza.library.conservative_mode", "count", 0},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
