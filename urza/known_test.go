package urza_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/urza"
)

// known asks for what can be answered at once; nil for nothing.
func known(l *urza.Library, id string) *leylinepb.KernelArtifactReady {
	answer := new(leylinepb.KernelArtifactReady)
	if !l.AnswerKnown(request("r", id), answer) {
		return nil
	}
	return answer
}

// openKnown opens a library in which BP can be answered at once, and returns the path
// of its artifact.
func openKnown(t *testing.T, dir string) (l *urza.Library, path string) {
	t.Helper()
	l = open(t, urza.Config{WorkDir: dir})
	path = filepath.Join(dir, add(t, l, "BP", "content").ArtifactPath)
	ask(t, l, "BP")
	if known(l, "BP") == nil {
		t.Fatal("not known after it was verified")
	}
	return l, path
}

// What is answered at once is what Answer says, and only what was verified.
func TestKnownAnswers(t *testing.T) {
	dir := t.TempDir()
	l := open(t, urza.Config{WorkDir: dir})
	add(t, l, "BP", "content")
	path := filepath.Join(dir, add(t, l, "GONE", "content").ArtifactPath)
	for _, id := range []string{"GONE", "NOBODY"} {
		ask(t, l, id)
	}
	os.Remove(path)
	if known(l, "NOBODY") != nil || known(l, "GONE") != nil {
		t.Error("known, though there is none")
	}
	want, err := l.Answer(t.Context(), request("r", "BP"))
	if err != nil {
		t.Fatal(err)
	}
	if got := known(l, "BP"); got == nil || string(marshal(t, got)) != string(marshal(t, want)) {
		t.Errorf("got %v, want %v", got, want)
	}
	l.Close()
	if known(l, "BP") != nil {
		t.Error("known to a closed library")
	}
}

// A file that was changed behind the library's back is found out within the time
// that is documented; a row that was changed, at once.
func TestKnownAnswersDoNotLast(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l, path := openKnown(t, dir)
		if err := os.WriteFile(path, []byte("CONTENT"), 0o644); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		if known(l, "BP") != nil {
			t.Error("known, though the file was changed 100 ms ago")
		}
		if got := ask(t, l, "BP"); got != urza.ReasonChecksumMismatch {
			t.Error(got)
		}
		if known(l, "BP") != nil {
			t.Error("known, though the file is not what its record says")
		}
		add(t, l, "BP", "new content")
		ask(t, l, "BP")
		if got := known(l, "BP"); got.GetChecksum() != sumOf("new content") {
			t.Errorf("after a save: %v", got)
		}
	})
}

// The folder may be exchanged as a whole, and links may lead out of it.
func TestKnownAnswersOfAnotherFolder(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l, path := openKnown(t, dir)
		folder := filepath.Dir(path)
		aside := folder + ".aside"
		if err := os.Rename(folder, aside); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		if known(l, "BP") != nil {
			t.Error("known, though its folder was exchanged 100 ms ago")
		}
		link := filepath.Join("..", filepath.Base(aside), filepath.Base(path))
		if err := os.Symlink(link, path); err != nil {
			t.Fatal(err)
		}
		ask(t, l, "BP")
		if known(l, "BP") == nil {
			t.Error("not known through a link to another folder")
		}
	})
}

// What is looked at is many files of one folder, after the last look has aged.
func BenchmarkAnswerKnownOfMany(b *testing.B) {
	const n = 2000
	l := open(b, urza.Config{WorkDir: b.TempDir()})
	requests := make([]*leylinepb.KernelPrefetchRequest, n)
	for i := range requests {
		id := fmt.Sprintf("BP%04d", i)
		add(b, l, id, id)
		requests[i] = request("r", id)
	}
	time.Sleep(50 * time.Millisecond) // the last files settle
	for _, r := range requests {
		if _, err := l.Answer(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
	answer := new(leylinepb.KernelArtifactReady)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%n == 0 {
			urza.ForgetLooks(l)
		}
		if !l.AnswerKnown(requests[i%n], answer) {
			b.Fatal("not known")
		}
	}
}

func TestKnownAnswersExpire(t *testing.T) {
	dir := t.TempDir()
	l := open(t, urza.Config{WorkDir: dir, CacheTTL: time.Hour})
	path := filepath.Join(dir, add(t, l, "BP", "content").ArtifactPath)
	old := time.Now().Add(-2 * time.Hour)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
	ask(t, l, "BP") // hashes it
	if known(l, "BP") != nil {
		t.Error("known, though it is expired")
	}
}

func BenchmarkAnswerKnown(b *testing.B) {
	l := open(b, urza.Config{WorkDir: b.TempDir()})
	add(b, l, "BP", "content")
	r := request("r", "BP")
	if _, err := l.Answer(b.Context(), r); err != nil {
		b.Fatal(err)
	}
	answer := new(leylinepb.KernelArtifactReady)
	b.ReportAllocs()
	for b.Loop() {
		if !l.AnswerKnown(r, answer) {
			b.Fatal("not known")
		}
	}
}
