package weatherlight_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/esper-lite/esper/weatherlight"
	"github.com/esper-lite/esper/weatherlight/weatherlighttest"
)

func TestSubscribeNeverBlocksAndCountsWhatIsMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := weatherlight.New(weatherlight.Config{})
		if err != nil {
			t.Fatal(err)
		}
		w, _ := addWorker(t, s, weatherlight.Spec{Name: "a", Backoff: weatherlight.Backoff{Initial: weatherlight.AtOnce}})
		events, unsubscribe := s.Subscribe(2)
		other, unsubscribeOther := s.Subscribe(0) // at least 1
		weatherlighttest.Start(t, s)
		w.Return(errBoom) // started, ready, booted, failed, started, ready: nobody reads
		synctest.Wait()
		if n := s.Snapshot().EventsDropped; n != 4+5 {
			t.Errorf("%d events dropped, want 9", n)
		}
		got := []weatherlight.Event{<-events, <-events}
		w.Return(errBoom)
		got = append(got, <-events)
		want := []weatherlight.Event{
			{Kind: weatherlight.EventStarted, Worker: "a"},
			{Kind: weatherlight.EventReady, Worker: "a"},
			{Kind: weatherlight.EventFailed, Worker: "a", Err: errBoom, Missed: 4},
		}
		ignore := cmpopts.IgnoreFields(weatherlight.Event{}, "At")
		if diff := cmp.Diff(want, got, ignore, cmpopts.EquateErrors()); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		unsubscribe()
		unsubscribe() // again: does nothing
		unsubscribeOther()
		for range events { // what was in the buffer; then it is closed
		}
		if n := len(other); n != 1 {
			t.Errorf("%d events in a buffer of 1", n)
		}
	})
}

// Whoever looks at a worker because of an event finds what it tells of.
func TestStateIsThatOfTheEvent(t *testing.T) {
	const workers = 500
	s, err := weatherlight.New(weatherlight.Config{})
	if err != nil {
		t.Fatal(err)
	}
	handles := make(map[string]*weatherlight.Handle)
	for i := range workers {
		w, h := addReady(t, s, weatherlight.Spec{Name: strconv.Itoa(i), Backoff: weatherlight.Backoff{Initial: time.Hour}})
		handles[strconv.Itoa(i)] = h
		go w.Return(errBoom)
	}
	events, unsubscribe := s.Subscribe(5 * workers)
	defer unsubscribe()
	weatherlighttest.Start(t, s)
	for failed := 0; failed < workers; {
		e := <-events
		switch state := handles[e.Worker].Status().State; e.Kind {
		case weatherlight.EventStarted:
			if state == weatherlight.StateWaiting {
				t.Errorf("%s has started, and is %v", e.Worker, state)
			}
		case weatherlight.EventFailed:
			failed++
			if state != weatherlight.StateBackingOff {
				t.Errorf("%s has failed, and is %v", e.Worker, state)
			}
		}
	}
}

func TestLogEvents(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	cause := &weatherlight.Cause{Reason: weatherlight.ErrShutdown}
	var logged bytes.Buffer
	log := slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
	events := make(chan weatherlight.Event, 20)
	for _, e := range []weatherlight.Event{
		{Kind: weatherlight.EventReady, At: at, Worker: "a"},
		{Kind: weatherlight.EventFailed, At: at, Worker: "a", Err: errBoom, Backoff: time.Second},
		{Kind: weatherlight.EventReady, At: at, Worker: "b"},
		{Kind: weatherlight.EventReady, At: at, Worker: "a"},
		{Kind: weatherlight.EventReady, At: at, Worker: "a"},
		{Kind: weatherlight.EventParked, At: at, Worker: "a", Err: errBoom, Missed: 3},
		{Kind: weatherlight.EventAbandoned, At: at, Worker: "a", Err: cause},
		{Kind: weatherlight.EventReturned, At: at, Worker: "a"},
		{Kind: weatherlight.EventBooted, At: at},
		{Kind: weatherlight.EventShuttingDown, At: at, Worker: "inner"},
		{Kind: weatherlight.EventShutdown, At: at, Err: &weatherlight.StopError{
			Workers: []weatherlight.Unstopped{{Worker: "a", For: time.Second, Stack: "main.f"}},
		}},
	} {
		events <- e
	}
	close(events)
	weatherlight.LogEvents(events, log)
	want := `level=DEBUG msg="worker ready" worker=a
level=WARN msg="worker failed" worker=a error=boom backoff=1s
level=DEBUG msg="worker ready" worker=b
level=INFO msg="worker ready again" worker=a
level=DEBUG msg="worker ready" worker=a
level=ERROR msg="worker parked" worker=a error=boom missed_events=3
level=ERROR msg="worker abandoned" worker=a error="weatherlight: shutdown"
level=INFO msg="worker returned" worker=a
level=INFO msg="supervisor booted"
level=INFO msg="supervisor shutting down" worker=inner
level=ERROR msg="supervisor shutdown" error="weatherlight: not stopped: a (for 1s)" "stack of a"=main.f
`
	if diff := cmp.Diff(want, logged.String()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	weatherlight.LogEvents(events, nil) // discards
}

// The Logger of a supervisor gets all of it, from the first event to the last.
func TestLogger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		s, err := weatherlight.New(weatherlight.Config{Logger: slog.New(slog.NewTextHandler(&logged, nil))})
		if err != nil {
			t.Fatal(err)
		}
		lives := 0
		_, err = s.Add(weatherlight.Spec{Name: "a", Worker: weatherlight.WorkerFunc(func(ctx context.Context) error {
			if lives++; lives == 1 {
				return errBoom
			}
			<-ctx.Done()
			return nil
		})})
		if err != nil {
			t.Fatal(err)
		}
		for run := range 2 { // each run anew
			lives = 0
			logged.Reset()
			r := weatherlighttest.Start(t, s)
			time.Sleep(time.Minute)
			if err := s.Run(t.Context()); !errors.Is(err, weatherlight.ErrRunning) {
				t.Errorf("a second Run: %v", err)
			}
			if err := r.Stop(); err != nil {
				t.Fatal(err)
			}
			got := regexp.MustCompile(`time=\S+ | backoff=\S+`).ReplaceAllString(logged.String(), "")
			want := `level=WARN msg="worker failed" worker=a error=boom
level=INFO msg="supervisor booted"
level=INFO msg="worker ready again" worker=a
level=INFO msg="supervisor shutting down"
level=INFO msg="supervisor shutdown"
`
			lines := func(s string) []string { return slices.Sorted(strings.Lines(s)) } // failing and booting race
			if diff := cmp.Diff(lines(want), lines(got)); diff != "" {
				t.Errorf("run %d (-want +got)\n%s", run, diff)
			}
		}
	})
}

// The line about a worker that was given up says where it hangs.
func TestLoggerShowsWhereAnAbandonedWorkerHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		s, err := weatherlight.New(weatherlight.Config{Logger: slog.New(slog.NewTextHandler(&logged, nil))})
		if err != nil {
			t.Fatal(err)
		}
		release := make(chan struct{})
		h, err := s.Add(weatherlight.Spec{Name: "a", StopTimeout: time.Second, Worker: weatherlight.WorkerFunc(func(ctx context.Context) error {
			<-ctx.Done()
			hang(release)
			return nil
		})})
		if err != nil {
			t.Fatal(err)
		}
		r := weatherlighttest.Start(t, s)
		synctest.Wait()
		go func() { _ = h.Restart(t.Context()) }()
		time.Sleep(2 * time.Second)
		close(release)
		synctest.Wait()
		if err := r.Stop(); err != nil {
			t.Fatal(err)
		}
		if line := regexp.MustCompile(`"worker abandoned".*`).FindString(logged.String()); !strings.Contains(line, "weatherlight_test.hang") {
			t.Errorf("%s", logged.String())
		}
	})
}

func hang(release <-chan struct{}) { <-release }

// A log that blocks does not keep Run from returning.
func TestLoggerThatBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		s, err := weatherlight.New(weatherlight.Config{
			ShutdownTimeout: 3 * time.Second,
			Logger:          slog.New(slog.NewTextHandler(blocked(release), nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		r := weatherlighttest.Start(t, s)
		synctest.Wait()
		start := time.Now()
		if err := r.Stop(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("Run returned after %v", took)
		}
		close(release)
	})
}

// blocked is a writer that waits until the channel is closed.
type blocked chan struct{}

func (b blocked) Write(p []byte) (int, error) {
	<-b
	return len(p), nil
}

func TestLogEventsShowsTheStackOfAPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := weatherlight.New(weatherlight.Config{})
		if err != nil {
			t.Fatal(err)
		}
		w, _ := addWorker(t, s, weatherlight.Spec{Name: "a"})
		events, unsubscribe := s.Subscribe(100)
		r := weatherlighttest.Start(t, s)
		w.Panic(errors.New("bad"))
		synctest.Wait()
		if err := r.Stop(); err != nil {
			t.Fatal(err)
		}
		unsubscribe()
		var logged bytes.Buffer
		weatherlight.LogEvents(events, slog.New(slog.NewTextHandler(&logged, nil)))
		if out := logged.String(); !strings.Contains(out, `error="panic: bad"`) || !strings.Contains(out, "weatherlighttest/worker.go:") {
			t.Errorf("logged:\n%s", out)
		}
	})
}

func TestNamesOfStatesAndKinds(t *testing.T) {
	seen := make(map[string]bool)
	for state := weatherlight.StateWaiting; state <= weatherlight.StateParked; state++ {
		seen[state.String()] = true
	}
	for kind := weatherlight.EventStarted; kind <= weatherlight.EventShutdown; kind++ {
		seen["event "+kind.String()] = true
	}
	if len(seen) != 8+12 || seen[""] || seen["unknown"] {
		t.Errorf("%d distinct names: %v", len(seen), seen)
	}
	if s, k := weatherlight.State(99).String(), weatherlight.EventKind(99).String(); s != "unknown" || k != "unknown" {
		t.Errorf("%q, %q", s, k)
	}
}
