package weatherlight_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/esper-lite/esper/weatherlight"
	"github.com/esper-lite/esper/weatherlight/weatherlighttest"
)

func TestStopNamesWhatDidNotStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, rec := newSupervisor(t, weatherlight.Config{})
		addWorker(t, s, weatherlight.Spec{Name: "good"})
		release := make(chan struct{})
		add(t, s, weatherlight.Spec{Name: "stuck", Worker: weatherlight.WorkerFunc(func(context.Context) error {
			helped := make(chan struct{})
			go stuckHelper(release, helped)
			stuckWorker(release)
			<-helped
			return nil
		})})
		r := weatherlighttest.Start(t, s)
		synctest.Wait()
		start := time.Now()
		err := r.Stop()
		if d := time.Since(start); d != 5*time.Second {
			t.Errorf("Run returned after %v, want 5s", d)
		}
		stop, ok := errors.AsType[*weatherlight.StopError](err)
		if !ok || len(stop.Workers) != 1 {
			t.Fatalf("Run: %v, want a StopError with one worker", err)
		}
		if want := "weatherlight: not stopped: stuck (for 5s)"; err.Error() != want {
			t.Errorf("%q, want %q", err, want)
		}
		u := stop.Workers[0]
		if u.Worker != "stuck" || u.For != 5*time.Second || u.Reason != weatherlight.ErrShutdown {
			t.Errorf("%+v", u)
		}
		for _, want := range []string{"weatherlight_test.stuckWorker\n\t", "weatherlight_test.stuckHelper\n\t", "stop_test.go:"} {
			if !strings.Contains(u.Stack, want) {
				t.Errorf("the stack lacks %q:\n%s", want, u.Stack)
			}
		}
		if strings.Contains(u.Stack, "weatherlighttest") {
			t.Errorf("the stack shows other workers:\n%s", u.Stack)
		}
		if n := s.Snapshot().Abandoned; n != 1 {
			t.Errorf("%d abandoned, want 1", n)
		}
		close(release)
		synctest.Wait()
		if n := s.Snapshot().Abandoned; n != 0 {
			t.Errorf("%d abandoned after it has returned", n)
		}
		wantLines(t, []string{"stuck abandoned", "stuck returned"}, rec.Lines(weatherlight.EventAbandoned, weatherlight.EventReturned))
	})
}

//go:noinline
func stuckWorker(release chan struct{}) { <-release }

//go:noinline
func stuckHelper(release, helped chan struct{}) { <-release; close(helped) }

// Three workers in a row that all ignore the stop: each gets its share, and all
// together no more than ShutdownTimeout.
func TestShutdownTimeoutIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newSupervisor(t, weatherlight.Config{ShutdownTimeout: 9 * time.Second})
		var stuck []*weatherlighttest.Worker
		for i := range 3 {
			spec := weatherlight.Spec{Name: fmt.Sprint(i), StopTimeout: time.Hour}
			if i > 0 {
				spec.After = []string{fmt.Sprint(i - 1)}
			}
			w, _ := addWorker(t, s, spec)
			w.IgnoreStop()
			stuck = append(stuck, w)
		}
		r := weatherlighttest.Start(t, s)
		synctest.Wait()
		start := time.Now()
		stop, ok := errors.AsType[*weatherlight.StopError](r.Stop())
		if !ok || len(stop.Workers) != 3 {
			t.Fatalf("Run: %v", stop)
		}
		if d := time.Since(start); d != 9*time.Second {
			t.Errorf("it took %v, want 9s", d)
		}
		for i, want := range []time.Duration{3 * time.Second, 6 * time.Second, 9 * time.Second} {
			if got := stop.Workers[i].For; got != want {
				t.Errorf("worker %d has had %v, want %v", i, got, want)
			}
		}
		for _, w := range stuck {
			w.Release()
		}
	})
}

func TestQuickWorkersLeaveTheirTimeToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newSupervisor(t, weatherlight.Config{ShutdownTimeout: 10 * time.Second})
		slow, _ := addWorker(t, s, weatherlight.Spec{Name: "slow", StopTimeout: time.Hour})
		addWorker(t, s, weatherlight.Spec{Name: "quick", After: []string{"slow"}})
		slow.IgnoreStop()
		r := weatherlighttest.Start(t, s)
		synctest.Wait()
		go func() {
			time.Sleep(9 * time.Second)
			slow.Release()
		}()
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestStopDuringBackoffIsImmediate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newSupervisor(t, weatherlight.Config{})
		w, _ := addWorker(t, s, weatherlight.Spec{Name: "a"})
		r := weatherlighttest.Start(t, s)
		w.Return(errBoom)
		synctest.Wait()
		start := time.Now()
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
		if d := time.Since(start); d != 0 {
			t.Errorf("it took %v", d)
		}
		if w.Lives() != 1 {
			t.Errorf("%d lives", w.Lives())
		}
		wantLines(t, []string{"a stopped"}, states(s))
	})
}

func TestStopDuringBoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, rec := newSupervisor(t, weatherlight.Config{})
		addReady(t, s, weatherlight.Spec{Name: "a"})
		b, _ := addWorker(t, s, weatherlight.Spec{Name: "b", After: []string{"a"}})
		r := weatherlighttest.Start(t, s)
		synctest.Wait()
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
		if b.Lives() != 0 {
			t.Error("b was started")
		}
		wantLines(t, []string{"a stopped", "b waiting"}, states(s))
		wantLines(t, nil, rec.Lines(weatherlight.EventBooted))
	})
}

// A worker that becomes ready while all are stopped must not start others.
func TestReadyDuringStopStartsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newSupervisor(t, weatherlight.Config{})
		add(t, s, weatherlight.Spec{Name: "a", Worker: readyLate{}})
		b, _ := addWorker(t, s, weatherlight.Spec{Name: "b", After: []string{"a"}})
		r := weatherlighttest.Start(t, s)
		synctest.Wait()
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
		if b.Lives() != 0 {
			t.Error("b was started")
		}
	})
}

// The same, for one that has not been told to stop yet, because another one is
// still there that was after it.
func TestReadyBeforeItsTurnToStopStartsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newSupervisor(t, weatherlight.Config{})
		a, aHandle := addReady(t, s, weatherlight.Spec{Name: "a"})
		stubborn, _ := addWorker(t, s, weatherlight.Spec{Name: "stubborn", After: []string{"a"}})
		stubborn.IgnoreStop()
		d, dHandle := addWorker(t, s, weatherlight.Spec{Name: "d", After: []string{"a"}})
		r := weatherlighttest.Start(t, s)
		a.Ready()
		synctest.Wait()
		for _, step := range []func(context.Context) error{dHandle.Stop, aHandle.Stop, aHandle.Restart, dHandle.Restart} {
			if err := step(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		wantLines(t, []string{"a starting", "stubborn running", "d waiting"}, states(s))
		go func() {
			time.Sleep(time.Second)
			wantLines(t, []string{"a starting", "stubborn stopping", "d waiting"}, states(s))
			a.Ready()
			stubborn.Release()
		}()
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
		if d.Lives() != 1 {
			t.Errorf("%d lives of d, want 1", d.Lives())
		}
	})
}

// readyLate says that it is ready when it has been told to stop.
type readyLate struct{}

func (readyLate) Run(context.Context) error { return nil }

func (readyLate) RunReady(ctx context.Context, ready func()) error {
	<-ctx.Done()
	ready()
	return nil
}

func TestCauses(t *testing.T) {
	for name, tc := range map[string]struct {
		do   func(*testing.T, *weatherlighttest.Running, *weatherlight.Handle)
		want error
	}{
		"shutdown": {func(_ *testing.T, r *weatherlighttest.Running, _ *weatherlight.Handle) { r.Stop() }, weatherlight.ErrShutdown},
		"restart":  {func(t *testing.T, _ *weatherlighttest.Running, h *weatherlight.Handle) { h.Restart(t.Context()) }, weatherlight.ErrRestartAsked},
		"stop":     {func(t *testing.T, _ *weatherlighttest.Running, h *weatherlight.Handle) { h.Stop(t.Context()) }, weatherlight.ErrStopAsked},
		"remove":   {func(t *testing.T, _ *weatherlighttest.Running, h *weatherlight.Handle) { h.Remove(t.Context()) }, weatherlight.ErrStopAsked},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, _ := newSupervisor(t, weatherlight.Config{})
				w, h := addWorker(t, s, weatherlight.Spec{Name: "a", StopTimeout: 3 * time.Second})
				r := weatherlighttest.Start(t, s)
				synctest.Wait()
				deadline := time.Now().Add(3 * time.Second)
				tc.do(t, r, h)
				if !errors.Is(w.Cause(), tc.want) {
					t.Errorf("cause %v, want %v", w.Cause(), tc.want)
				}
				cause, ok := errors.AsType[*weatherlight.Cause](w.Cause())
				if !ok || !cause.Deadline.Equal(deadline) {
					t.Errorf("cause %+v, want a deadline of %v", cause, deadline)
				}
			})
		})
	}
}

func TestContextEndsWhenTheWorkerReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newSupervisor(t, weatherlight.Config{})
		left := make(chan error, 1)
		add(t, s, weatherlight.Spec{Name: "a", Restart: weatherlight.Temporary, Worker: weatherlight.WorkerFunc(func(ctx context.Context) error {
			go func() { // what a worker leaves behind must hear that it is over
				<-ctx.Done()
				left <- context.Cause(ctx)
			}()
			return nil
		})})
		weatherlighttest.Start(t, s)
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("cause %v, want context.Canceled", err)
		}
	})
}
