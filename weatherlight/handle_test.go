package weatherlight_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/esper-lite/esper/weatherlight"
	"github.com/esper-lite/esper/weatherlight/weatherlighttest"
)

func TestAddWhileRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newSupervisor(t, weatherlight.Config{})
		weatherlighttest.Start(t, s)
		synctest.Wait()
		db, _ := addReady(t, s, weatherlight.Spec{Name: "db"})
		addWorker(t, s, weatherlight.Spec{Name: "api", After: []string{"db"}})
		_, err := s.Add(weatherlight.Spec{Name: "x", Worker: weatherlighttest.NewWorker(), After: []string{"later"}})
		if !errors.Is(err, weatherlight.ErrUnknown) {
			t.Errorf("Add after an unknown worker: %v", err)
		}
		synctest.Wait()
		wantLines(t, []string{"db starting", "api waiting"}, states(s))
		db.Ready()
		synctest.Wait()
		wantLines(t, []string{"db running", "api running"}, states(s))
		addWorker(t, s, weatherlight.Spec{Name: "late", After: []string{"api"}})
		synctest.Wait()
		wantLines(t, []string{"db running", "api running", "late running"}, states(s))
	})
}

func TestStopAndRestartOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, rec := newSupervisor(t, weatherlight.Config{})
		w, h := addWorker(t, s, weatherlight.Spec{Name: "a"})
		other, _ := addWorker(t, s, weatherlight.Spec{Name: "b", After: []string{"a"}})
		ctx := t.Context()
		for name, call := range map[string]func(context.Context) error{"Stop": h.Stop, "Restart": h.Restart} {
			if err := call(ctx); !errors.Is(err, weatherlight.ErrNotRunning) {
				t.Errorf("%s before Run: %v", name, err)
			}
		}
		weatherlighttest.Start(t, s)
		if err := h.WaitReady(ctx); err != nil {
			t.Fatal(err)
		}
		if err := h.Restart(ctx); err != nil {
			t.Fatal(err)
		}
		if st := h.Status(); st.Restarts != 1 || st.State != weatherlight.StateRunning || st.LastFailure != nil {
			t.Errorf("%+v after a restart", st)
		}
		if err := h.Stop(ctx); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		wantLines(t, []string{"a stopped", "b running"}, states(s))
		if err := h.Stop(ctx); err != nil {
			t.Errorf("second Stop: %v", err)
		}
		if err := h.Restart(ctx); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		wantLines(t, []string{"a running", "b running"}, states(s))
		if w.Lives() != 3 || other.Lives() != 1 { // also when it was stopped before it could run
			t.Errorf("%d lives, sibling %d", w.Lives(), other.Lives())
		}
		wantLines(t, nil, rec.Lines(weatherlight.EventFailed))
	})
}

func TestRestartDuringBackoffStartsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newSupervisor(t, weatherlight.Config{})
		w, h := addWorker(t, s, weatherlight.Spec{Name: "a", Backoff: weatherlight.Backoff{Initial: time.Hour, Max: time.Hour}})
		weatherlighttest.Start(t, s)
		w.Return(errBoom)
		synctest.Wait()
		start := time.Now()
		if err := h.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if d := time.Since(start); d != 0 || w.Lives() != 2 {
			t.Errorf("%d lives after %v", w.Lives(), d)
		}
	})
}

func TestStopOneThatIgnoresIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newSupervisor(t, weatherlight.Config{})
		w, h := addWorker(t, s, weatherlight.Spec{Name: "a", StopTimeout: time.Second})
		w.IgnoreStop()
		r := weatherlighttest.Start(t, s)
		synctest.Wait()

		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := h.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Stop with a short context: %v", err)
		}
		if st := h.Status().State; st != weatherlight.StateStopping {
			t.Errorf("%v, want it to go on stopping", st)
		}
		err := h.Stop(t.Context())
		stop, ok := errors.AsType[*weatherlight.StopError](err)
		if !ok || len(stop.Workers) != 1 || stop.Workers[0].For != time.Second || stop.Workers[0].Stack == "" {
			t.Fatalf("Stop: %v, want a StopError", err)
		}
		wantLines(t, []string{"a stopped"}, states(s))

		if err := h.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := h.Restart(t.Context()); err != nil { // gives the second life up too
			t.Fatal(err)
		}
		synctest.Wait()
		if w.Lives() != 3 || s.Snapshot().Abandoned != 2 {
			t.Errorf("%d lives, %d abandoned", w.Lives(), s.Snapshot().Abandoned)
		}
		w.Release()
		synctest.Wait() // else it would be named at the end
		if err := r.Stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestRemove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newSupervisor(t, weatherlight.Config{})
		_, db := addWorker(t, s, weatherlight.Spec{Name: "db"})
		apiWorker, api := addWorker(t, s, weatherlight.Spec{Name: "api", After: []string{"db"}})
		_, idle := addWorker(t, s, weatherlight.Spec{Name: "idle"})
		ctx := t.Context()
		if err := idle.Remove(ctx); err != nil {
			t.Errorf("Remove before Run: %v", err)
		}
		weatherlighttest.Start(t, s)
		synctest.Wait()
		if err := db.Remove(ctx); !errors.Is(err, weatherlight.ErrNeeded) {
			t.Errorf("Remove of a needed worker: %v", err)
		}
		wantLines(t, []string{"db running", "api running"}, states(s))
		for _, h := range []*weatherlight.Handle{api, db} {
			if err := h.Remove(ctx); err != nil {
				t.Errorf("Remove %s: %v", h.Name(), err)
			}
		}
		wantLines(t, nil, states(s))
		if snap := s.Snapshot(); snap.Workers != 0 || apiWorker.Cause() == nil {
			t.Errorf("%+v", snap)
		}
		for name, call := range map[string]func(context.Context) error{"Remove": db.Remove, "Restart": db.Restart} {
			if err := call(ctx); !errors.Is(err, weatherlight.ErrRemoved) {
				t.Errorf("%s of a removed worker: %v", name, err)
			}
		}
		if err := db.Stop(ctx); err != nil || s.Snapshot() != (weatherlight.Snapshot{Started: s.Snapshot().Started}) {
			t.Errorf("Stop of a removed worker: %v, %+v", err, s.Snapshot())
		}
		addWorker(t, s, weatherlight.Spec{Name: "db"}) // the name is free
		synctest.Wait()
		wantLines(t, []string{"db running"}, states(s))
	})
}

func TestRemoveManyKeepsTheOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newSupervisor(t, weatherlight.Config{})
		weatherlighttest.Start(t, s)
		var want []string
		var handles []*weatherlight.Handle
		for i := range 300 {
			_, h := addWorker(t, s, weatherlight.Spec{Name: fmt.Sprint(i)})
			handles = append(handles, h)
		}
		for i, h := range handles {
			if i%10 == 0 {
				want = append(want, h.Name()+" running")
			} else if err := h.Remove(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		addWorker(t, s, weatherlight.Spec{Name: "new"})
		synctest.Wait()
		wantLines(t, append(want, "new running"), states(s))
	})
}

func TestWaitReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newSupervisor(t, weatherlight.Config{})
		w, h := addReady(t, s, weatherlight.Spec{Name: "a"})
		weatherlighttest.Start(t, s)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := h.WaitReady(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("WaitReady: %v", err)
		}
		go w.Ready()
		if err := h.WaitReady(t.Context()); err != nil {
			t.Errorf("WaitReady: %v", err)
		}
	})
}

func TestStopOfAWaitingWorkerLetsBootGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, rec := newSupervisor(t, weatherlight.Config{})
		w, a := addReady(t, s, weatherlight.Spec{Name: "a"})
		_, b := addWorker(t, s, weatherlight.Spec{Name: "b", After: []string{"a"}})
		weatherlighttest.Start(t, s)
		synctest.Wait()
		for _, h := range []*weatherlight.Handle{b, a} {
			if err := h.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Hour)
		wantLines(t, []string{"booted"}, rec.Lines(weatherlight.EventBooted))
		if err := b.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		wantLines(t, []string{"a stopped", "b waiting"}, states(s))
		if err := a.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.Ready()
		synctest.Wait()
		wantLines(t, []string{"a running", "b running"}, states(s))
	})
}
