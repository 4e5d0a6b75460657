package urza_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/esper-lite/esper/urza"
)

// rot changes a file in a way that no look at its identity can tell: it removes
// the proof of that by restoring the modification time. The change time cannot
// be set, so the library is opened after the change.
func rot(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)/2] ^= 1
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
}

// eventLog collects integrity events.
type eventLog struct {
	mu     sync.Mutex
	events []urza.IntegrityEvent
}

func (l *eventLog) add(e urza.IntegrityEvent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
}

func (l *eventLog) all() []urza.IntegrityEvent {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.events)
}

func TestScrubberFindsRot(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var log eventLog
		l := open(t, urza.Config{WorkDir: dir, OnIntegrity: log.add})
		add(t, l, "GOOD", strings.Repeat("good", 1<<20))
		bad := add(t, l, "ROT", strings.Repeat("rot!", 1<<20))
		rot(t, filepath.Join(dir, bad.ArtifactPath))
		ctx, stop := context.WithCancelCause(t.Context())
		defer stop(nil)
		done := make(chan error)
		s := urza.NewScrubber(l, urza.ScrubConfig{BytesPerSecond: 1 << 20, Interval: time.Hour})
		go func() { done <- s.Run(ctx) }()

		time.Sleep(time.Hour + time.Second)
		synctest.Wait()
		if events := log.all(); len(events) != 0 {
			t.Errorf("found faster than 1 MiB/s can be read: %v", events)
		}
		time.Sleep(10 * time.Second) // 8 MiB are to be read
		synctest.Wait()
		if events := log.all(); len(events) != 1 || events[0].Kind != urza.KindChecksumMismatch || events[0].BlueprintID != "ROT" || events[0].Want != bad.Checksum {
			t.Errorf("events: %v", events)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if events := log.all(); len(events) != 2 {
			t.Errorf("after the second pass: %v", events)
		}
		stopped := errors.New("stopped")
		stop(stopped)
		if err := <-done; !errors.Is(err, stopped) {
			t.Error(err)
		}
	})
}

func TestScrubberEndsWithTheLibrary(t *testing.T) {
	l, err := urza.Open(t.Context(), urza.Config{WorkDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	add(t, l, "BP", "x")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := urza.NewScrubber(l, urza.ScrubConfig{BytesPerSecond: -1}).Pass(t.Context()); !errors.Is(err, urza.ErrClosed) {
		t.Error(err)
	}
}

func TestVerify(t *testing.T) {
	l := open(t, urza.Config{WorkDir: workDir(t, "catalog")})
	var last urza.VerifyProgress
	results, err := l.Verify(t.Context(), nil, func(p urza.VerifyProgress) { last = p })
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"BAD_CHECKSUM": urza.ReasonChecksumMismatch, "BAD_MISSING": urza.ReasonArtifactNotFound}
	if len(results) != 8 {
		t.Errorf("%d results", len(results))
	}
	for _, v := range results {
		if v.Reason() != want[v.Entry.BlueprintID] || v.OK() != (want[v.Entry.BlueprintID] == "") {
			t.Errorf("%s: %s (%v)", v.Entry.BlueprintID, v.Reason(), v.Err)
		}
	}
	if last.Done != last.Total || last.Artifacts != 8 || last.Total != 4096+8193+100000+8192+8+8 {
		t.Errorf("last progress: %+v", last)
	}
	results, err = l.Verify(t.Context(), []string{"NONE", "BP001", "BP001"}, nil)
	if err != nil || len(results) != 2 || results[0].Reason() != "" || results[1].Reason() != urza.ReasonMissingArtifact {
		t.Errorf("some: %+v, %v", results, err)
	}
	if got := figures(l)["integrity_failures"]; got != 0 {
		t.Errorf("verifying counted %v failures of requests", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Verify(ctx, nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
