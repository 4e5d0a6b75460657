package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/esper-lite/esper/oona/oonatest/redistest"
)

// TestWatchOutlivesRedis: a watcher that starts while Redis is away waits for it,
// shows what the fleet says when it is there, and that it is away again.
func TestWatchOutlivesRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	url := server.URL()
	busClient(t, url, "test") // it is up
	server.Kill()
	watch := start(t, t.TempDir(), map[string]string{"REDIS_URL": url, "ESPER_LEYLINE_SECRET": testSecret},
		"status", "--watch", "--timeout", "500ms")
	says := func(text string) {
		t.Helper()
		eventually(t, func() error { return errIf(!strings.Contains(watch.stdout.String(), text), "it does not say: "+text) })
	}
	says("does not answer")
	server.Restart()
	says("✓ over: Redis at")
	says("no Weatherlight process reports")
	if _, err := busClient(t, url, "test").Publish(t.Context(), hostPacket(t, "0123456789ab", isHealthy, "steady")); err != nil {
		t.Fatal(err)
	}
	says("✓ over: the fleet")
	says("HEALTHY: 1 of 1 processes, 2 of 2 workers")
	if strings.Contains(watch.stdout.String(), "\x1b") {
		t.Error("there are colours in a pipe")
	}
	if err := watch.cmd.Process.Signal(syscall.SIGHUP); err != nil { // its terminal is gone
		t.Fatal(err)
	}
	if code := watch.wait(10 * time.Second); code != 0 || watch.stderr.String() != "" {
		t.Errorf("exit code %d after SIGHUP: %s", code, watch.stderr.String())
	}
}

// TestWatchAsDocuments: one JSON document a line.
func TestWatchAsDocuments(t *testing.T) {
	bus := newTestBus(t)
	bus.publish(hostPacket(t, "0123456789ab", isHealthy, "steady"))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	out := &stopAfter{lines: 2, stop: stop}
	a := &app{stdio: stdio{strings.NewReader(""), out, out}, environ: bus.environ(), json: true}
	if err := a.watch(ctx, statusFlags{since: time.Minute, timeout: 5 * time.Second}); err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range bytes.Lines(out.buf.Bytes()) {
		var v fleetView
		if err := json.Unmarshal(line, &v); err != nil || len(v.Instances) != 1 || !v.Bus.Reachable {
			t.Errorf("%v: %s", err, line)
		}
		n++
	}
	if n < 2 {
		t.Errorf("%d documents", n)
	}
}

// stopAfter calls stop when so many lines were written.
type stopAfter struct {
	lines int
	stop  func()
	buf   bytes.Buffer
}

func (s *stopAfter) Write(p []byte) (int, error) {
	n, err := s.buf.Write(p)
	if bytes.Count(s.buf.Bytes(), []byte("\n")) >= s.lines {
		s.stop()
	}
	return n, err
}

// TestWatchWithWrongSettings ends at once: they never get better.
func TestWatchWithWrongSettings(t *testing.T) {
	t.Chdir(t.TempDir())
	environ := []string{"REDIS_URL=http://localhost", "ESPER_LEYLINE_SECRET=" + testSecret}
	code, _, stderr := runCommand(t, environ, false, (*app).statusCommand, "--watch")
	if code != exitUsage || !strings.Contains(stderr, "REDIS_URL") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

// TestLiveView: views come in, keys work, and q ends it.
func TestLiveView(t *testing.T) {
	bus := newTestBus(t)
	bus.publish(hostPacket(t, "0123456789ab", isHealthy, "steady"))
	var out lockedBuffer
	a := &app{stdio: stdio{nil, &out, &out}, environ: bus.environ()}
	s, keys, err := a.lookSettings(5 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	keyboard, pressed := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		w := newWatcher(s, keys, statusFlags{since: time.Minute, timeout: 5 * time.Second})
		ended <- watchLive(t.Context(), w, &out, []string{"TERM=xterm"}, tea.WithInput(keyboard), tea.WithWindowSize(80, 24))
	}()
	for _, step := range []struct{ see, press string }{{"nothing is wrong", "\r"}, {"enter back", "\r"}, {"q quit", "q"}} {
		eventually(t, func() error { return errIf(!strings.Contains(out.String(), step.see), "it does not show: "+step.see) })
		if _, err := io.WriteString(pressed, step.press); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
