package weatherlight_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/esper-lite/esper/weatherlight"
	"github.com/esper-lite/esper/weatherlight/weatherlighttest"
)

func TestBootWaitsForReadyAndStopsInReverse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, rec := newSupervisor(t, weatherlight.Config{})
		// Added in an order that is not the order of boot.
		addWorker(t, s, weatherlight.Spec{Name: "api", After: []string{"db", "cache"}})
		cache, _ := addReady(t, s, weatherlight.Spec{Name: "cache", After: []string{"db"}})
		db, _ := addReady(t, s, weatherlight.Spec{Name: "db"})
		addWorker(t, s, weatherlight.Spec{Name: "free"})
		r := weatherlighttest.Start(t, s)

		synctest.Wait()
		wantLines(t, []string{"api waiting", "cache waiting", "db starting", "free running"}, states(s))
		db.Ready()
		synctest.Wait()
		wantLines(t, []string{"api waiting", "cache starting", "db running", "free running"}, states(s))
		cache.Ready()
		synctest.Wait()
		wantLines(t, []string{"api running", "cache running", "db running", "free running"}, states(s))
		if err := r.Stop(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		want := []string{
			"db started", "db ready", "cache started", "cache ready", "api started", "api ready",
			"api stopping", "api stopped", "cache stopping", "cache stopped", "db stopping", "db stopped",
		}
		got := slices.DeleteFunc(rec.Lines(), func(line string) bool {
			return !strings.Contains(line, " ") || strings.HasPrefix(line, "free") || strings.HasPrefix(line, "shutting")
		})
		wantLines(t, want, got)
	})
}

func TestUnrelatedWorkersStartInOrderOfAdd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, rec := newSupervisor(t, weatherlight.Config{})
		var started, stopping []string
		for i := range 20 {
			name := fmt.Sprint(i)
			addWorker(t, s, weatherlight.Spec{Name: name})
			started = append(started, name+" started")
			stopping = append([]string{name + " stopping"}, stopping...)
		}
		r := weatherlighttest.Start(t, s)
		synctest.Wait()
		if err := r.Stop(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		wantLines(t, started, rec.Lines(weatherlight.EventStarted))
		wantLines(t, stopping, rec.Lines(weatherlight.EventStopping))
	})
}

func TestAnyOrderOfReadinessStartsEveryDependantOnce(t *testing.T) {
	for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 0, 2}, {2, 0, 1}} {
		synctest.Test(t, func(t *testing.T) {
			s, _ := newSupervisor(t, weatherlight.Config{})
			var deps []*weatherlighttest.ReadyWorker
			w, _ := addWorker(t, s, weatherlight.Spec{Name: "last", After: []string{"0", "1", "2"}})
			for i := range 3 {
				dep, _ := addReady(t, s, weatherlight.Spec{Name: fmt.Sprint(i)})
				deps = append(deps, dep)
			}
			weatherlighttest.Start(t, s)
			for n, i := range order {
				if w.Lives() != 0 {
					t.Fatalf("started after %d of 3 were ready", n)
				}
				deps[i].Ready()
				deps[i].Ready() // again: does nothing
				synctest.Wait()
			}
			if w.Lives() != 1 {
				t.Errorf("%d lives, want 1", w.Lives())
			}
		})
	}
}

func TestCrashOfADependencyLeavesDependantsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newSupervisor(t, weatherlight.Config{})
		db, _ := addReady(t, s, weatherlight.Spec{Name: "db"})
		api, _ := addWorker(t, s, weatherlight.Spec{Name: "api", After: []string{"db"}})
		weatherlighttest.Start(t, s)
		db.Ready()
		db.Return(errBoom)
		time.Sleep(2 * time.Second)
		db.Ready()
		synctest.Wait()
		wantLines(t, []string{"db running", "api running"}, states(s))
		if api.Lives() != 1 {
			t.Errorf("%d lives of the dependant, want 1", api.Lives())
		}
	})
}

func TestDependencyThatFinishesCountsAsReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, rec := newSupervisor(t, weatherlight.Config{})
		migrate, _ := addReady(t, s, weatherlight.Spec{Name: "migrate", Restart: weatherlight.Transient})
		addWorker(t, s, weatherlight.Spec{Name: "api", After: []string{"migrate"}})
		weatherlighttest.Start(t, s)
		synctest.Wait()
		wantLines(t, []string{"migrate starting", "api waiting"}, states(s))
		migrate.Return(errBoom) // is tried again
		migrate.Return(nil)
		synctest.Wait()
		wantLines(t, []string{"migrate ended", "api running"}, states(s))
		wantLines(t, []string{"booted"}, rec.Lines(weatherlight.EventBooted))
	})
}

func TestRunRefusesCyclesByName(t *testing.T) {
	s, _ := newSupervisor(t, weatherlight.Config{})
	addWorker(t, s, weatherlight.Spec{Name: "leads in", After: []string{"a"}})
	addWorker(t, s, weatherlight.Spec{Name: "a", After: []string{"root", "b"}})
	addWorker(t, s, weatherlight.Spec{Name: "b", After: []string{"c"}})
	w, c := addWorker(t, s, weatherlight.Spec{Name: "c", After: []string{"a"}})
	addWorker(t, s, weatherlight.Spec{Name: "root"})
	err := s.Run(t.Context())
	cycle, ok := errors.AsType[*weatherlight.CycleError](err)
	if !ok {
		t.Fatalf("Run: %v, want a CycleError", err)
	}
	if diff := cmp.Diff([]string{"a", "b", "c"}, cycle.Names); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if want := "weatherlight: After is a cycle: a -> b -> c -> a"; err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
	if w.Lives() != 0 {
		t.Error("a worker was started")
	}
	if err := c.Remove(t.Context()); !errors.Is(err, weatherlight.ErrNeeded) {
		t.Errorf("Remove: %v, want ErrNeeded", err)
	}
}

func TestRunRefusesUnknownDependency(t *testing.T) {
	s, _ := newSupervisor(t, weatherlight.Config{})
	addWorker(t, s, weatherlight.Spec{Name: "a", After: []string{"nobody"}})
	err := s.Run(t.Context())
	if !errors.Is(err, weatherlight.ErrUnknown) || !strings.Contains(err.Error(), `"nobody", which "a" is after`) {
		t.Errorf("Run: %v, want ErrUnknown", err)
	}
}

// Who forgets to call ready is told so.
func TestBootErrorOfOneThatIsNeverReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newSupervisor(t, weatherlight.Config{BootTimeout: 10 * time.Second})
		addReady(t, s, weatherlight.Spec{Name: "a"})
		err := weatherlighttest.Start(t, s).Wait()
		if want := "weatherlight: boot failed after 10s: a has not called ready"; err == nil || err.Error() != want {
			t.Errorf("%v, want %q", err, want)
		}
	})
}

func TestFailedBootStopsWhatWasStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, rec := newSupervisor(t, weatherlight.Config{BootTimeout: 10 * time.Second})
		addWorker(t, s, weatherlight.Spec{Name: "first"})
		addWorker(t, s, weatherlight.Spec{Name: "second", After: []string{"first"}})
		slow, _ := addReady(t, s, weatherlight.Spec{Name: "slow", After: []string{"second"}, Backoff: weatherlight.Backoff{Initial: time.Minute}})
		last, _ := addWorker(t, s, weatherlight.Spec{Name: "last", After: []string{"slow"}})
		start := time.Now()
		r := weatherlighttest.Start(t, s)
		slow.Return(errBoom)
		err := r.Wait()
		failed, ok := errors.AsType[*weatherlight.BootError](err)
		if !ok || !errors.Is(err, errBoom) {
			t.Fatalf("Run: %v, want a BootError that wraps boom", err)
		}
		if want := "weatherlight: boot failed after 10s: slow is backing off (boom); last is waiting"; err.Error() != want {
			t.Errorf("%q, want %q", err, want)
		}
		if got := time.Since(start); got != 10*time.Second || failed.After != got {
			t.Errorf("boot failed after %v (it says %v), want 10s", got, failed.After)
		}
		if last.Lives() != 0 {
			t.Error("the last worker was started")
		}
		synctest.Wait()
		wantLines(t, []string{"slow stopping", "second stopping", "first stopping"}, rec.Lines(weatherlight.EventStopping))
	})
}

func TestBootFailsAtOnceWhenItCannotSucceed(t *testing.T) {
	for name, spec := range map[string]weatherlight.Spec{
		"temporary": {Restart: weatherlight.Temporary},
		"parked":    {Limit: weatherlight.Limit{Failures: 1, Then: weatherlight.Park}, Backoff: weatherlight.Backoff{Initial: weatherlight.AtOnce}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, _ := newSupervisor(t, weatherlight.Config{})
				spec.Name = "a"
				a, _ := addReady(t, s, spec)
				addWorker(t, s, weatherlight.Spec{Name: "b", After: []string{"a"}})
				start := time.Now()
				r := weatherlighttest.Start(t, s)
				a.Return(errBoom)
				if name == "parked" {
					a.Return(errBoom)
				}
				err := r.Wait()
				if _, ok := errors.AsType[*weatherlight.BootError](err); !ok || !errors.Is(err, errBoom) {
					t.Errorf("Run: %v, want a BootError that wraps boom", err)
				}
				if d := time.Since(start); d != 0 {
					t.Errorf("it took %v", d)
				}
			})
		})
	}
}

func TestBootTimeoutCanBeSwitchedOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, rec := newSupervisor(t, weatherlight.Config{BootTimeout: -1})
		a, _ := addReady(t, s, weatherlight.Spec{Name: "a"})
		weatherlighttest.Start(t, s)
		time.Sleep(24 * time.Hour)
		a.Ready()
		synctest.Wait()
		wantLines(t, []string{"booted"}, rec.Lines(weatherlight.EventBooted))
	})
}

func TestSlowSiblingHoldsUpOnlyWhatItIsAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newSupervisor(t, weatherlight.Config{})
		_, base := addWorker(t, s, weatherlight.Spec{Name: "base"})
		slow, _ := addWorker(t, s, weatherlight.Spec{Name: "slow", After: []string{"base"}})
		_, quick := addWorker(t, s, weatherlight.Spec{Name: "quick", After: []string{"other"}})
		_, other := addWorker(t, s, weatherlight.Spec{Name: "other"})
		slow.IgnoreStop()
		r := weatherlighttest.Start(t, s)
		synctest.Wait()
		go func() {
			time.Sleep(time.Second)
			if got := []weatherlight.State{quick.Status().State, other.Status().State, base.Status().State}; !cmp.Equal(got, []weatherlight.State{
				weatherlight.StateStopped, weatherlight.StateStopped, weatherlight.StateRunning,
			}) {
				t.Errorf("quick, other, base are %v", got)
			}
			time.Sleep(time.Second)
			slow.Release()
		}()
		start := time.Now()
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
		if d := time.Since(start); d != 2*time.Second {
			t.Errorf("it took %v, want 2s", d)
		}
	})
}
