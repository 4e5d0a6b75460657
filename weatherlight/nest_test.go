package weatherlight_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/esper-lite/esper/weatherlight"
	"github.com/esper-lite/esper/weatherlight/weatherlighttest"
)

// tree is a supervisor with a nested one of two workers between two of its own.
type tree struct {
	root, inner *weatherlight.Supervisor
	rec         *weatherlighttest.Record
	first, last *weatherlighttest.Worker
	left        *weatherlighttest.ReadyWorker
	right       *weatherlighttest.Worker
	nested      *weatherlight.Handle
}

func newTree(t *testing.T, innerConfig weatherlight.Config, right weatherlight.Spec) *tree {
	t.Helper()
	tr := &tree{}
	tr.inner, _ = newSupervisor(t, innerConfig)
	tr.left, _ = addReady(t, tr.inner, weatherlight.Spec{Name: "left"})
	right.Name = "right"
	tr.right, _ = addWorker(t, tr.inner, right)
	tr.root, tr.rec = newSupervisor(t, weatherlight.Config{})
	tr.first, _ = addWorker(t, tr.root, weatherlight.Spec{Name: "first"})
	tr.nested = add(t, tr.root, weatherlight.Spec{
		Name:        "inner",
		Worker:      tr.inner,
		After:       []string{"first"},
		StopTimeout: 10 * time.Second,
		Backoff:     weatherlight.Backoff{Jitter: -1},
	})
	tr.last, _ = addWorker(t, tr.root, weatherlight.Spec{Name: "last", After: []string{"inner"}})
	return tr
}

func TestTreeBootsAndStopsAsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTree(t, weatherlight.Config{}, weatherlight.Spec{})
		r := weatherlighttest.Start(t, tr.root)
		synctest.Wait()
		wantLines(t, []string{"first running", "inner starting", "inner/left starting", "inner/right running", "last waiting"}, states(tr.root))
		tr.left.Ready()
		synctest.Wait()
		wantLines(t, []string{"first running", "inner running", "inner/left running", "inner/right running", "last running"}, states(tr.root))
		snap := tr.root.Snapshot()
		if snap.Workers != 5 || snap.Running != 5 {
			t.Errorf("%+v", snap)
		}
		tr.right.Return(errBoom)
		synctest.Wait()
		snap = tr.root.Snapshot()
		if snap.BackingOff != 1 || snap.Failures != 1 || snap.LastFailure.Worker != "inner/right" {
			t.Errorf("%+v", snap)
		}
		if err := r.Stop(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		want := []string{
			"last stopping", "inner stopping", "inner shutting down", "inner/right stopping", "inner/left stopping", "inner shutdown", "first stopping",
		}
		wantLines(t, want, tr.rec.Lines(weatherlight.EventStopping, weatherlight.EventShuttingDown, weatherlight.EventShutdown)[1:8])
		wantLines(t, []string{"inner booted", "booted"}, tr.rec.Lines(weatherlight.EventBooted))
	})
}

func TestNestedEscalationIsAFailureOfTheSupervisor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTree(t, weatherlight.Config{}, weatherlight.Spec{
			Limit:   weatherlight.Limit{Failures: 1},
			Backoff: weatherlight.Backoff{Initial: weatherlight.AtOnce},
		})
		weatherlighttest.Start(t, tr.root)
		tr.left.Ready()
		synctest.Wait()
		tr.right.Return(errBoom)
		tr.right.Return(errBoom)
		synctest.Wait()
		wantLines(t, []string{"first running", "inner backing off", "inner/left stopped", "inner/right ended", "last running"}, states(tr.root))
		if _, ok := errors.AsType[*weatherlight.EscalationError](tr.nested.Status().LastFailure.Err); !ok {
			t.Errorf("failure %v", tr.nested.Status().LastFailure.Err)
		}
		time.Sleep(time.Second)
		tr.left.Ready()
		synctest.Wait()
		wantLines(t, []string{"first running", "inner running", "inner/left running", "inner/right running", "last running"}, states(tr.root))
		if tr.first.Lives() != 1 || tr.last.Lives() != 1 {
			t.Error("workers beside the nested supervisor were restarted")
		}
	})
}

func TestStopReportCoversTheTree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTree(t, weatherlight.Config{}, weatherlight.Spec{StopTimeout: time.Hour})
		tr.right.IgnoreStop()
		r := weatherlighttest.Start(t, tr.root)
		tr.left.Ready()
		synctest.Wait()
		start := time.Now()
		err := r.Stop()
		stop, ok := errors.AsType[*weatherlight.StopError](err)
		if !ok || len(stop.Workers) != 1 || stop.Workers[0].Worker != "inner/right" {
			t.Fatalf("Run: %v, want a StopError that names inner/right", err)
		}
		// inner is after one other, so it gets half of the 10s, and grants nine
		// tenths of that.
		if d := time.Since(start); d != 4500*time.Millisecond {
			t.Errorf("it took %v, want 4.5s", d)
		}
		if !strings.Contains(stop.Workers[0].Stack, "weatherlighttest.(*Worker).stop\n") {
			t.Errorf("stack:\n%s", stop.Workers[0].Stack)
		}
		tr.right.Release()
	})
}

func TestNestingRefusesWhatIsNoTree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := newSupervisor(t, weatherlight.Config{})
		b, _ := newSupervisor(t, weatherlight.Config{})
		c, _ := newSupervisor(t, weatherlight.Config{})
		refuse := func(in, worker *weatherlight.Supervisor, want string) {
			t.Helper()
			_, err := in.Add(weatherlight.Spec{Name: "x", Worker: worker})
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Add: %v, want %q", err, want)
			}
		}
		add(t, a, weatherlight.Spec{Name: "b", Worker: b})
		add(t, b, weatherlight.Spec{Name: "c", Worker: c})
		refuse(a, a, "is the supervisor itself or one above it")
		refuse(c, a, "is the supervisor itself or one above it")
		refuse(a, c, "is part of a tree already")

		running, _ := newSupervisor(t, weatherlight.Config{})
		weatherlighttest.Start(t, running)
		synctest.Wait()
		refuse(a, running, "supervisor is running")
	})
}

func TestRemovedSupervisorCanJoinAnotherTree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := newSupervisor(t, weatherlight.Config{})
		b, _ := newSupervisor(t, weatherlight.Config{})
		moving, _ := newSupervisor(t, weatherlight.Config{})
		addWorker(t, moving, weatherlight.Spec{Name: "w"})
		h := add(t, a, weatherlight.Spec{Name: "in a", Worker: moving})
		weatherlighttest.Start(t, a)
		weatherlighttest.Start(t, b)
		synctest.Wait()
		if err := h.Remove(t.Context()); err != nil {
			t.Fatal(err)
		}
		add(t, b, weatherlight.Spec{Name: "in b", Worker: struct{ *weatherlight.Supervisor }{moving}})
		synctest.Wait()
		wantLines(t, nil, states(a))
		wantLines(t, []string{"in b running", "in b/w running"}, states(b))
	})
}
