package urza_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/esper-lite/esper/urza"
)

func write(t testing.TB, path, content string, age time.Duration) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	modified := time.Now().Add(-age)
	if err := os.Chtimes(path, modified, modified); err != nil {
		t.Fatal(err)
	}
}

// Names as the library gives them.
const (
	orphan     = "ORPHAN-0123456789abcdef-0123456789ab.pt"
	young      = "YOUNG-0123456789abcdef-0123456789ab.pt"
	oldDraft   = ".draft-0123456789abcdef01234567"
	youngDraft = ".draft-76543210fedcba9876543210"
)

// neglected returns a library in which everything is that maintenance looks
// for, and the names of the files of its records.
func neglected(t *testing.T) (dir string, l *urza.Library, files map[string]string) {
	dir = t.TempDir()
	l = open(t, urza.Config{WorkDir: dir, CacheTTL: 24 * time.Hour})
	files = map[string]string{}
	for _, id := range []string{"GOOD", "EXPIRED", "MISSING"} {
		files[id] = add(t, l, id, "content of "+id).ArtifactPath
	}
	old := time.Now().Add(-25 * time.Hour)
	if err := os.Chtimes(filepath.Join(dir, files["EXPIRED"]), old, old); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, files["MISSING"])); err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(dir, "var/urza")
	write(t, filepath.Join(root, "artifacts/"+orphan), "orphan", 2*time.Hour)
	write(t, filepath.Join(root, "artifacts/"+young), "young", 0)
	write(t, filepath.Join(root, "artifacts/"+oldDraft), "draft", 2*time.Hour)
	write(t, filepath.Join(root, "artifacts/"+youngDraft), "young draft", 0)
	write(t, filepath.Join(root, "artifacts/foreign.pt"), "foreign", 2*time.Hour)
	write(t, filepath.Join(root, "artifacts/.draft-0123"), "foreign draft", 2*time.Hour)
	write(t, filepath.Join(root, "stranger.pt"), "stranger", 2*time.Hour)
	write(t, filepath.Join(root, ".hidden"), "hidden", 2*time.Hour)
	write(t, filepath.Join(root, "urza_wal.json"), "not JSON", 2*time.Hour)
	return dir, l, files
}

type maintained struct {
	Expired, Missing, Orphans, Drafts, Pending, Strangers, Failures []string
}

func summary(r *urza.MaintenanceReport) maintained {
	ids := func(entries []urza.Entry) (ids []string) {
		for _, e := range entries {
			ids = append(ids, e.BlueprintID)
		}
		return ids
	}
	bases := func(paths []string) (bases []string) {
		for _, p := range paths {
			bases = append(bases, filepath.Base(p))
		}
		return bases
	}
	m := maintained{Expired: ids(r.Expired), Missing: ids(r.Missing), Orphans: bases(r.Orphans), Drafts: bases(r.Drafts), Pending: bases(r.Pending), Strangers: bases(r.Strangers)}
	for _, f := range r.Failures {
		m.Failures = append(m.Failures, f.Err.Error())
	}
	return m
}

var wantNeglected = maintained{
	Expired: []string{"EXPIRED"}, Missing: []string{"MISSING"}, Orphans: []string{orphan}, Drafts: []string{oldDraft},
	Pending: []string{"urza_wal.json"}, Strangers: []string{"foreign.pt", "stranger.pt"},
}

func maintain(t *testing.T, l *urza.Library, o urza.MaintenanceOptions) *urza.MaintenanceReport {
	t.Helper()
	r, err := l.Maintain(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestMaintenanceReports(t *testing.T) {
	dir, l, _ := neglected(t)
	before := artifacts(t, dir)
	for range 2 {
		r := maintain(t, l, urza.MaintenanceOptions{Disposal: urza.ReportOnly})
		if diff := cmp.Diff(wantNeglected, summary(r)); diff != "" {
			t.Errorf("report (-want +got):\n%s", diff)
		}
	}
	if diff := cmp.Diff(before, artifacts(t, dir)); diff != "" {
		t.Errorf("files changed (-want +got):\n%s", diff)
	}
	r := maintain(t, l, urza.MaintenanceOptions{Disposal: urza.ReportOnly, MinAge: -1})
	if got := summary(r); !slices.Contains(got.Orphans, young) || len(got.Drafts) != 2 {
		t.Errorf("without an age: %+v", got)
	}
}

func TestMaintenanceQuarantines(t *testing.T) {
	dir, l, files := neglected(t)
	r := maintain(t, l, urza.MaintenanceOptions{})
	if diff := cmp.Diff(wantNeglected, summary(r)); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	got := map[string]string{} // without the times in the names
	for name, content := range artifacts(t, dir) {
		if rest, ok := strings.CutPrefix(name, "quarantine/"); ok {
			_, rest, _ = strings.Cut(rest, "-")
			name = "quarantine/" + rest
		}
		got[name] = content
	}
	expired := filepath.Base(files["EXPIRED"])
	var row map[string]string
	if err := json.Unmarshal([]byte(got["quarantine/"+expired+".json"]), &row); err != nil || row["blueprint_id"] != "EXPIRED" || row["artifact_path"] != files["EXPIRED"] {
		t.Errorf("quarantined row: %v, %v", row, err)
	}
	delete(got, "quarantine/"+expired+".json")
	want := map[string]string{
		filepath.Base(files["GOOD"]): "content of GOOD",
		young:                        "young",
		youngDraft:                   "young draft",
		"foreign.pt":                 "foreign",
		".draft-0123":                "foreign draft",
		"quarantine/" + expired:      "content of EXPIRED",
		"quarantine/" + orphan:       "orphan",
		"quarantine/urza_wal.json":   "not JSON",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	for id, want := range map[string]string{"GOOD": "ready", "EXPIRED": urza.ReasonMissingArtifact, "MISSING": urza.ReasonArtifactNotFound} {
		if reason := ask(t, l, id); reason != want {
			t.Errorf("%s: %s, want %s", id, reason, want)
		}
	}
	if got := figures(l)["evictions"]; got != 1 {
		t.Errorf("%v evictions", got)
	}
	again := maintain(t, l, urza.MaintenanceOptions{})
	if diff := cmp.Diff(maintained{Missing: []string{"MISSING"}, Strangers: []string{"foreign.pt", "stranger.pt"}}, summary(again)); diff != "" {
		t.Errorf("second report (-want +got):\n%s", diff)
	}
}

func TestMaintenanceDeletes(t *testing.T) {
	dir, l, files := neglected(t)
	r := maintain(t, l, urza.MaintenanceOptions{Disposal: urza.Delete, MinAge: -1})
	if len(r.Failures) != 0 {
		t.Errorf("failures: %v", r.Failures)
	}
	want := map[string]string{filepath.Base(files["GOOD"]): "content of GOOD", "foreign.pt": "foreign", ".draft-0123": "foreign draft"}
	if diff := cmp.Diff(want, artifacts(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if got := l.List(urza.Query{}); len(got) != 1 || got[0].BlueprintID != "GOOD" {
		t.Errorf("records: %v", got)
	}
	for _, kept := range []string{"stranger.pt", ".hidden", "catalog.db"} {
		if _, err := os.Stat(filepath.Join(dir, "var/urza", kept)); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "var/urza/urza_wal.json")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("pending save: %v", err)
	}
}

func TestMaintenanceReportAsJSON(t *testing.T) {
	_, l, _ := neglected(t)
	text, err := json.Marshal(maintain(t, l, urza.MaintenanceOptions{Disposal: urza.ReportOnly}))
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string][]any
	if err := json.Unmarshal(text, &fields); err != nil {
		t.Fatal(err)
	}
	want := []string{"drafts", "expired", "failures", "missing", "orphans", "pending", "strangers"}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(fields))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Two records of one file: the Python side makes them from two artifacts of one
// name. The file stays as long as either does.
func TestSharedFileStays(t *testing.T) {
	dir := t.TempDir()
	m := urza.NewMemory()
	file := filepath.Join(dir, "var/urza/kernel.pt")
	write(t, file, "shared", 0)
	modified := json.Number("0")
	if info, err := os.Stat(file); err == nil {
		modified = json.Number(urza.FormatFloat(urza.UnixSeconds(info.ModTime()), 64))
	}
	for _, id := range []string{"A", "B"} {
		put(t, m, urza.Row{
			BlueprintID: id, ArtifactPath: "var/urza/kernel.pt",
			Metadata: `{"_urza":{"artifact_mtime":` + string(modified) + `,"checksum":"` + sumOf("shared") + `"}}`,
		})
	}
	l := open(t, urza.Config{WorkDir: dir, Catalogue: m})
	add(t, l, "A", "new version")
	if got := ask(t, l, "B"); got != "ready" {
		t.Errorf("B after a new version of A: %s", got)
	}
	if err := l.Remove(t.Context(), "B"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("file that nobody names any more: %v", err)
	}
}

// A file in the root that is not the recorded one any more is what the Python
// side has just put there: its row will follow.
func TestForeignFileIsNotRemoved(t *testing.T) {
	dir := workDir(t, "catalog")
	l := open(t, urza.Config{WorkDir: dir})
	add(t, l, "BP001", "new version")
	if _, err := os.Stat(filepath.Join(dir, "var/urza/BP001.pt")); err != nil {
		t.Error(err)
	}
}

func TestPendingSaveWaitsForItsArtifact(t *testing.T) {
	dir := workDir(t, "catalog/pending-save")
	artifact, pending := filepath.Join(dir, "var/urza/WAL001.pt"), filepath.Join(dir, "var/urza/urza_wal.json")
	if err := os.Rename(artifact, artifact+".later"); err != nil {
		t.Fatal(err)
	}
	var events []urza.IntegrityEvent
	l := open(t, urza.Config{WorkDir: dir, OnIntegrity: func(e urza.IntegrityEvent) { events = append(events, e) }})
	if len(events) != 1 || events[0].Kind != urza.KindUnusablePending {
		t.Errorf("events: %v", events)
	}
	if _, err := os.Stat(pending); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(artifact+".later", artifact); err != nil {
		t.Fatal(err)
	}
	maintain(t, l, urza.MaintenanceOptions{})
	if got := ask(t, l, "WAL001"); got != "ready" {
		t.Error(got)
	}
	if _, err := os.Stat(pending); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("pending save: %v", err)
	}
}

// Whatever the blueprint and the file are called, the library knows its own
// files when their record is gone, and no others.
func TestOwnFilesAreKnownByName(t *testing.T) {
	dir := t.TempDir()
	catalogue := urza.NewMemory()
	l := open(t, urza.Config{WorkDir: dir, Catalogue: catalogue})
	ids := []string{"BP", "a-b/c d", "..", "ü", strings.Repeat("x", 200), "BP.v1"}
	for _, id := range ids {
		for _, file := range []string{"kernel.pt", "kernel", "kernel.tar.gz", "kernel.ü", "kernel.abcdefghijklmno"} {
			if _, err := l.Add(t.Context(), urza.Addition{BlueprintID: id + file, File: file, Reader: strings.NewReader(id)}); err != nil {
				t.Fatal(err)
			}
			if err := catalogue.Peer().Update(t.Context(), id+file, func(*urza.Row) (*urza.Row, error) { return nil, nil }); err != nil {
				t.Fatal(err)
			}
		}
	}
	foreign := []string{
		"BP.pt", "BP-0123456789abcdef.pt", "BP-0123456789ABCDEF-0123456789ab.pt", "BP-0123456789abcdef-0123456789abc.pt",
		"a-b-0123456789abcdef-0123456789ab.pt", "BP-0123456789abcdef-0123456789ab.tar.gz", "draft-0123456789abcdef01234567",
	}
	for _, name := range foreign {
		write(t, filepath.Join(dir, "var/urza/artifacts", name), "foreign", 2*time.Hour)
	}
	got := summary(maintain(t, l, urza.MaintenanceOptions{MinAge: -1}))
	if len(got.Orphans) != 5*len(ids) {
		t.Errorf("%d orphans of %d: %v", len(got.Orphans), 5*len(ids), got.Orphans)
	}
	slices.Sort(foreign)
	if diff := cmp.Diff(foreign, got.Strangers); diff != "" {
		t.Errorf("strangers (-want +got):\n%s", diff)
	}
}
