package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/esper-lite/esper/oona/oonatest/redistest"
	"github.com/esper-lite/esper/weatherlight"
)

// fakeSystemd is what a notifier reports to.
type fakeSystemd struct {
	mu     sync.Mutex
	states []string
}

func (f *fakeSystemd) send(state string) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.states = append(f.states, state)
	return true, nil
}

// take returns what was sent since the last time.
func (f *fakeSystemd) take() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	states := f.states
	f.states = nil
	return states
}

// supervised runs a supervisor of two workers: one is ready and may be told to
// fail, the other hangs for good when its context ends.
func supervised(t *testing.T) (s *weatherlight.Supervisor, ready, fail func(), hangs *weatherlight.Handle) {
	t.Helper()
	s, err := weatherlight.New(weatherlight.Config{})
	if err != nil {
		t.Fatal(err)
	}
	up, failing := make(chan struct{}), make(chan struct{})
	add := func(spec weatherlight.Spec) *weatherlight.Handle {
		h, err := s.Add(spec)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	add(weatherlight.Spec{Name: "slow", Worker: slowWorker{up, failing}, Backoff: weatherlight.Backoff{Initial: time.Minute, Jitter: -1}})
	released := make(chan struct{})
	hangs = add(weatherlight.Spec{Name: "hanging", StopTimeout: time.Second, Worker: weatherlight.WorkerFunc(func(context.Context) error {
		<-released
		return nil
	})})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = s.Run(ctx) })
	t.Cleanup(func() { close(released); cancel(); running.Wait() })
	return s, func() { close(up) }, func() { failing <- struct{}{} }, hangs
}

// slowWorker is ready when it is told to be, and fails when it is told to.
type slowWorker struct{ up, fail chan struct{} }

func (w slowWorker) Run(ctx context.Context) error { return w.RunReady(ctx, func() {}) }

func (w slowWorker) RunReady(ctx context.Context, ready func()) error {
	select {
	case <-w.up:
		ready()
	case <-ctx.Done():
		return nil
	}
	select {
	case <-w.fail:
		return errors.New("told to fail")
	case <-ctx.Done():
		return nil
	}
}

// What systemd is told follows from what the workers really do: READY when all
// are, a worker that backs off leaves the watchdog fed, one that was given up does
// not, and STOPPING is the last word.
func TestNotifierTellsRealHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ready, fail, hangs := supervised(t)
		systemd := &fakeSystemd{}
		n := newNotifier(slog.New(slog.DiscardHandler), s.Snapshot)
		n.send = systemd.send
		n.every = 4 * time.Second // as WATCHDOG_USEC asks
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { n.run(ctx) })
		const watchdog = "WATCHDOG=1"
		last := func() []string { // of the next two seconds, which is half of what the watchdog allows
			time.Sleep(10 * time.Millisecond)
			systemd.take()
			time.Sleep(2 * time.Second)
			synctest.Wait()
			return systemd.take()
		}

		time.Sleep(time.Second)
		synctest.Wait()
		if got := systemd.take(); slices.Contains(got, "READY=1") || !slices.Contains(got, "STATUS=1 of 2 workers running") {
			t.Errorf("before all are ready: %q", got)
		}
		ready()
		time.Sleep(readyPoll)
		synctest.Wait()
		if diff := cmp.Diff([]string{"READY=1", "STATUS=2 of 2 workers running", watchdog}, systemd.take()); diff != "" {
			t.Errorf("when all are ready (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"STATUS=2 of 2 workers running", watchdog}, last()); diff != "" {
			t.Errorf("later (-want +got):\n%s", diff)
		}
		fail()
		if diff := cmp.Diff([]string{"STATUS=1 of 2 workers running, 1 backing off", watchdog}, last()); diff != "" {
			t.Errorf("while one backs off (-want +got):\n%s", diff)
		}
		if err := hangs.Stop(t.Context()); err == nil {
			t.Error("the hanging worker was not given up")
		}
		if diff := cmp.Diff([]string{"STATUS=0 of 2 workers running, 1 backing off, 1 given up"}, last()); diff != "" {
			t.Errorf("when one was given up (-want +got):\n%s", diff)
		}
		cancel()
		running.Wait()
		if diff := cmp.Diff([]string{"STOPPING=1"}, systemd.take()); diff != "" {
			t.Errorf("at the end (-want +got):\n%s", diff)
		}
	})
}

// Without systemd the notifier ends when READY and STOPPING reached nobody.
func TestNotifierIsSilentWithoutSystemd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ready, _, _ := supervised(t)
		ready()
		synctest.Wait()
		tries := 0
		n := newNotifier(slog.New(slog.DiscardHandler), s.Snapshot)
		n.send = func(string) (bool, error) { tries++; return false, nil }
		n.run(t.Context())
		if tries != 2 {
			t.Errorf("%d tries, want 2", tries)
		}
	})
}

// The service reports over a socket as systemd does it.
func TestServiceNotifiesSystemd(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	var systemd fakeSystemd
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := socket.Read(buf)
			if err != nil {
				return // closed
			}
			_, _ = systemd.send(string(buf[:n]))
		}
	}()
	seen := make(map[string]bool)
	saw := func(state string) func() error {
		return func() error {
			for _, s := range systemd.take() {
				seen[s] = true
			}
			if !seen[state] {
				return errors.New("systemd was not told " + state)
			}
			return nil
		}
	}
	p := start(t, serviceDir(t), with(serviceEnv(redis), "NOTIFY_SOCKET", path, "WATCHDOG_USEC", "200000"))
	eventually(t, saw("READY=1"))
	eventually(t, saw("WATCHDOG=1"))
	for state := range seen {
		if state == "STOPPING=1" {
			t.Error("stopping already")
		}
	}
	p.terminate(10 * time.Second)
	eventually(t, saw("STOPPING=1"))
	if !slices.ContainsFunc(statesOf(seen), func(s string) bool { return strings.HasSuffix(s, " workers running") }) {
		t.Errorf("no status: %v", statesOf(seen))
	}
}

func statesOf(seen map[string]bool) (states []string) {
	for s := range seen {
		states = append(states, s)
	}
	return states
}
