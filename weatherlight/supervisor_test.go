package weatherlight_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/esper-lite/esper/weatherlight"
	"github.com/esper-lite/esper/weatherlight/weatherlighttest"
)

var errBoom = errors.New("boom")

// newSupervisor returns a supervisor and a record of its events.
func newSupervisor(t *testing.T, cfg weatherlight.Config) (*weatherlight.Supervisor, *weatherlighttest.Record) {
	t.Helper()
	s, err := weatherlight.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s, weatherlighttest.NewRecord(t, s)
}

// add adds a worker that must be accepted.
func add(t *testing.T, s *weatherlight.Supervisor, spec weatherlight.Spec) *weatherlight.Handle {
	t.Helper()
	h, err := s.Add(spec)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// addWorker adds a worker that the test commands.
func addWorker(t *testing.T, s *weatherlight.Supervisor, spec weatherlight.Spec) (*weatherlighttest.Worker, *weatherlight.Handle) {
	t.Helper()
	w := weatherlighttest.NewWorker()
	spec.Worker = w
	return w, add(t, s, spec)
}

// addReady adds a worker that says itself when it is ready.
func addReady(t *testing.T, s *weatherlight.Supervisor, spec weatherlight.Spec) (*weatherlighttest.ReadyWorker, *weatherlight.Handle) {
	t.Helper()
	w := weatherlighttest.NewReadyWorker()
	spec.Worker = w
	return w, add(t, s, spec)
}

// states returns the workers as "name state".
func states(s *weatherlight.Supervisor) []string {
	var lines []string
	for _, w := range s.AppendWorkers(nil) {
		lines = append(lines, w.Name+" "+w.State.String())
	}
	return lines
}

func wantLines(t *testing.T, want, got []string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func idle(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

func TestAddRefuses(t *testing.T) {
	good := weatherlight.WorkerFunc(idle)
	for name, tc := range map[string]struct {
		spec weatherlight.Spec
		want string
	}{
		"no name":        {weatherlight.Spec{Worker: good}, "Name is empty"},
		"slash":          {weatherlight.Spec{Name: "a/b", Worker: good}, `Name contains "/"`},
		"no worker":      {weatherlight.Spec{Name: "a"}, "Worker is nil"},
		"no function":    {weatherlight.Spec{Name: "a", Worker: weatherlight.WorkerFunc(nil)}, "Worker is nil"},
		"no beating":     {weatherlight.Spec{Name: "a", Worker: weatherlight.BeatingFunc(nil)}, "Worker is nil"},
		"no supervisor":  {weatherlight.Spec{Name: "a", Worker: (*weatherlight.Supervisor)(nil)}, "Worker is nil"},
		"after itself":   {weatherlight.Spec{Name: "a", Worker: good, After: []string{"a"}}, "After names the worker itself"},
		"restart":        {weatherlight.Spec{Name: "a", Worker: good, Restart: 9}, "Restart is unknown"},
		"panics":         {weatherlight.Spec{Name: "a", Worker: good, Panics: 9}, "Panics is unknown"},
		"stable after":   {weatherlight.Spec{Name: "a", Worker: good, StableAfter: -1}, "StableAfter is negative"},
		"stop timeout":   {weatherlight.Spec{Name: "a", Worker: good, StopTimeout: -1}, "StopTimeout is negative"},
		"heartbeat":      {weatherlight.Spec{Name: "a", Worker: good, Heartbeat: -1}, "Heartbeat is negative"},
		"no beats":       {weatherlight.Spec{Name: "a", Worker: good, Heartbeat: 1}, "no method RunBeating"},
		"initial":        {weatherlight.Spec{Name: "a", Worker: good, Backoff: weatherlight.Backoff{Initial: -2}}, "Backoff.Initial is negative"},
		"max":            {weatherlight.Spec{Name: "a", Worker: good, Backoff: weatherlight.Backoff{Max: -1}}, "Backoff.Max is negative"},
		"initial > max":  {weatherlight.Spec{Name: "a", Worker: good, Backoff: weatherlight.Backoff{Initial: 2, Max: 1}}, "longer than Backoff.Max"},
		"jitter":         {weatherlight.Spec{Name: "a", Worker: good, Backoff: weatherlight.Backoff{Jitter: 101}}, "Backoff.Jitter is above 100"},
		"limit":          {weatherlight.Spec{Name: "a", Worker: good, Limit: weatherlight.Limit{Failures: -1}}, "Limit.Failures is negative"},
		"limit too high": {weatherlight.Spec{Name: "a", Worker: good, Limit: weatherlight.Limit{Failures: 10_001}}, "above 10000"},
		"limit period":   {weatherlight.Spec{Name: "a", Worker: good, Limit: weatherlight.Limit{Failures: 1, Within: -1}}, "Limit.Within is negative"},
		"limit then":     {weatherlight.Spec{Name: "a", Worker: good, Limit: weatherlight.Limit{Failures: 1, Then: 9}}, "Limit.Then is unknown"},
		"half a limit":   {weatherlight.Spec{Name: "a", Worker: good, Limit: weatherlight.Limit{Then: weatherlight.Park}}, "Limit.Failures is zero"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := weatherlight.New(weatherlight.Config{})
			if err != nil {
				t.Fatal(err)
			}
			_, err = s.Add(tc.spec)
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.HasPrefix(err.Error(), "weatherlight: ") {
				t.Errorf("Add: %v, want %q", err, tc.want)
			}
			if n := s.Snapshot().Workers; n != 0 {
				t.Errorf("%d workers after a refusal", n)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	for _, cfg := range []weatherlight.Config{{Strategy: 9}, {ShutdownTimeout: -1}} {
		if _, err := weatherlight.New(cfg); err == nil {
			t.Errorf("New(%+v) accepted", cfg)
		}
	}
}

func TestAddRefusesDuplicate(t *testing.T) {
	s, _ := newSupervisor(t, weatherlight.Config{})
	addWorker(t, s, weatherlight.Spec{Name: "a"})
	_, err := s.Add(weatherlight.Spec{Name: "a", Worker: weatherlighttest.NewWorker()})
	if !errors.Is(err, weatherlight.ErrDuplicate) {
		t.Errorf("Add: %v, want ErrDuplicate", err)
	}
}

func TestRunEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, rec := newSupervisor(t, weatherlight.Config{})
		addWorker(t, s, weatherlight.Spec{Name: "a"})
		r := weatherlighttest.Start(t, s)
		synctest.Wait()
		wantLines(t, []string{"a running"}, states(s))
		if s.Snapshot().Started.IsZero() {
			t.Error("Started is zero while running")
		}
		if err := s.Run(t.Context()); !errors.Is(err, weatherlight.ErrRunning) {
			t.Errorf("second Run: %v, want ErrRunning", err)
		}
		if err := r.Stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
		wantLines(t, []string{"a stopped"}, states(s))
		if !s.Snapshot().Started.IsZero() {
			t.Error("Started is set after Run")
		}
		synctest.Wait()
		wantLines(t, []string{"a started", "a ready", "booted", "shutting down", "a stopping", "a stopped", "shutdown"}, rec.Lines())
	})
}

func TestRunWithEndedContextStartsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newSupervisor(t, weatherlight.Config{})
		w, _ := addWorker(t, s, weatherlight.Spec{Name: "a"})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
		if w.Lives() != 0 {
			t.Error("worker was started")
		}
	})
}

func TestRunAgainStartsEveryWorkerAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newSupervisor(t, weatherlight.Config{})
		w, _ := addWorker(t, s, weatherlight.Spec{Name: "a"})
		once, _ := addWorker(t, s, weatherlight.Spec{Name: "once", Restart: weatherlight.Transient})
		parked, _ := addWorker(t, s, weatherlight.Spec{
			Name:  "parked",
			Limit: weatherlight.Limit{Failures: 1, Then: weatherlight.Park},
		})
		r := weatherlighttest.Start(t, s)
		once.Return(nil)
		parked.Return(errBoom)
		parked.Return(errBoom)
		synctest.Wait()
		wantLines(t, []string{"a running", "once ended", "parked parked"}, states(s))
		if err := r.Stop(); err != nil {
			t.Fatal(err)
		}
		weatherlighttest.Start(t, s)
		synctest.Wait()
		wantLines(t, []string{"a running", "once running", "parked running"}, states(s))
		if w.Lives() != 2 {
			t.Errorf("%d lives, want 2", w.Lives())
		}
	})
}

func TestContextValuesReachWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		s, _ := newSupervisor(t, weatherlight.Config{})
		got := make(chan any, 1)
		add(t, s, weatherlight.Spec{Name: "a", Worker: weatherlight.WorkerFunc(func(ctx context.Context) error {
			got <- ctx.Value(key{})
			if _, ok := ctx.Deadline(); ok {
				t.Error("the deadline of Run's context reached a worker")
			}
			return idle(ctx)
		})})
		ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), key{}, "value"), time.Minute)
		defer cancel()
		if err := s.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if v := <-got; v != "value" {
			t.Errorf("value %v", v)
		}
	})
}
