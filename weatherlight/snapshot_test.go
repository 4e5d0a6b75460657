package weatherlight_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/esper-lite/esper/weatherlight"
	"github.com/esper-lite/esper/weatherlight/weatherlighttest"
)

func TestSnapshotAndStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newSupervisor(t, weatherlight.Config{BootTimeout: -1})
		addReady(t, s, weatherlight.Spec{Name: "starting"})
		addWorker(t, s, weatherlight.Spec{Name: "waiting", After: []string{"starting"}})
		addWorker(t, s, weatherlight.Spec{Name: "running"})
		failing, _ := addWorker(t, s, weatherlight.Spec{Name: "failing", Backoff: weatherlight.Backoff{Jitter: -1}})
		start := time.Now()
		weatherlighttest.Start(t, s)
		time.Sleep(time.Minute)
		failing.Return(errBoom)
		synctest.Wait()
		failed := time.Now()
		time.Sleep(300 * time.Millisecond)

		failure := &weatherlight.Failure{Worker: "failing", At: failed, Ran: time.Minute, Err: errBoom}
		want := weatherlight.Snapshot{
			Workers: 4, Waiting: 1, Starting: 1, Running: 1, BackingOff: 1,
			Failures: 1, LastFailure: failure, Started: start,
		}
		opts := []cmp.Option{cmpopts.EquateErrors(), cmpopts.EquateApproxTime(time.Microsecond)}
		if diff := cmp.Diff(want, s.Snapshot(), opts...); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		const up = time.Minute + 300*time.Millisecond
		wantWorkers := []weatherlight.WorkerStatus{
			{Name: "starting", State: weatherlight.StateStarting, For: up},
			{Name: "waiting", State: weatherlight.StateWaiting, For: up},
			{Name: "running", State: weatherlight.StateRunning, For: up},
			{
				Name: "failing", State: weatherlight.StateBackingOff, For: 300 * time.Millisecond,
				Backoff: 700 * time.Millisecond, LastFailure: failure,
			},
		}
		if diff := cmp.Diff(wantWorkers, s.AppendWorkers(nil), opts...); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
}

func TestSnapshotAndAppendWorkersDoNotAllocate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newSupervisor(t, weatherlight.Config{})
		for i := range 100 {
			add(t, s, weatherlight.Spec{Name: fmt.Sprint(i), Worker: weatherlight.WorkerFunc(idle)})
		}
		weatherlighttest.Start(t, s)
		synctest.Wait()
		dst := make([]weatherlight.WorkerStatus, 0, 100)
		if n := testing.AllocsPerRun(100, func() {
			s.Snapshot()
			dst = s.AppendWorkers(dst[:0])
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}

// Everything at once, at random: the counts must stay those of the workers, and
// nothing may be left at the end.
func TestEverythingAtOnce(t *testing.T) {
	const workers, callers, calls = 40, 8, 200
	s, err := weatherlight.New(weatherlight.Config{BootTimeout: -1})
	if err != nil {
		t.Fatal(err)
	}
	var running, most [2 * workers]atomic.Int32
	spec := func(i int) weatherlight.Spec {
		sp := weatherlight.Spec{
			Name:    fmt.Sprint(i),
			Backoff: weatherlight.Backoff{Initial: weatherlight.AtOnce},
			Restart: weatherlight.Restart(i % 3),
			Worker: weatherlight.WorkerFunc(func(ctx context.Context) error {
				most[i].Store(max(most[i].Load(), running[i].Add(1)))
				defer running[i].Add(-1)
				switch rand.IntN(4) {
				case 0:
					return errBoom
				case 1:
					panic("at random")
				}
				return idle(ctx)
			}),
		}
		if i%5 == 1 {
			sp.Limit = weatherlight.Limit{Failures: 3, Then: weatherlight.Park}
		}
		if i%4 == 3 && i < workers {
			sp.After = []string{fmt.Sprint(i - 1), fmt.Sprint(i - 2)}
		}
		return sp
	}
	var handles []*weatherlight.Handle
	for i := range workers {
		handles = append(handles, add(t, s, spec(i)))
	}
	events, unsubscribe := s.Subscribe(10)
	ctx, cancel := context.WithCancel(t.Context())
	var run, call sync.WaitGroup
	run.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	run.Go(func() {
		for range events {
		}
	})
	for c := range callers {
		call.Go(func() {
			for range calls {
				h := handles[rand.IntN(workers)]
				switch rand.IntN(6) {
				case 0:
					h.Stop(t.Context())
				case 1, 2:
					h.Restart(t.Context())
				case 3:
					s.AppendWorkers(nil)
				case 4:
					s.Snapshot()
				case 5:
					added, err := s.Add(spec(workers + c))
					if err != nil {
						t.Error(err)
						return
					}
					if err := added.Remove(t.Context()); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	call.Wait()
	cancel()
	unsubscribe()
	run.Wait()
	snap := s.Snapshot()
	counted := make(map[weatherlight.State]int)
	for _, w := range s.AppendWorkers(nil) {
		counted[w.State]++
	}
	want := map[weatherlight.State]int{
		weatherlight.StateWaiting: snap.Waiting, weatherlight.StateStopped: snap.Stopped,
		weatherlight.StateEnded: snap.Ended, weatherlight.StateParked: snap.Parked,
	}
	if diff := cmp.Diff(want, counted, cmpopts.IgnoreMapEntries(func(_ weatherlight.State, n int) bool { return n == 0 })); diff != "" || snap.Workers != workers {
		t.Errorf("%+v (-snapshot +workers)\n%s", snap, diff)
	}
	for i := range most {
		if most[i].Load() > 1 || running[i].Load() != 0 {
			t.Errorf("worker %d: at most %d lives at once, %d at the end", i, most[i].Load(), running[i].Load())
		}
	}
}

// An embedder of this package must not pull in a broker, a database or a command
// line.
func TestDependencies(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			t.Fatalf("%v: %s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	allowed := []string{
		"github.com/esper-lite/esper/weatherlight", "github.com/esper-lite/esper/leyline",
		"github.com/sethvargo/go-retry", "google.golang.org/protobuf", "github.com/google/uuid",
	}
	for pkg := range strings.Lines(string(out)) {
		pkg = strings.TrimSpace(pkg)
		first, _, _ := strings.Cut(pkg, "/")
		if !strings.Contains(first, ".") || within(pkg, allowed) {
			continue // the standard library, or allowed
		}
		t.Errorf("depends on %s", pkg)
	}
}

func within(pkg string, allowed []string) bool {
	for _, a := range allowed {
		if pkg == a || strings.HasPrefix(pkg, a+"/") {
			return true
		}
	}
	return false
}
