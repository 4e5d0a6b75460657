package weatherlight_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/esper-lite/esper/weatherlight"
	"github.com/esper-lite/esper/weatherlight/weatherlighttest"
)

func TestOneForAllRestartsEverybodyInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, rec := newSupervisor(t, weatherlight.Config{Strategy: weatherlight.OneForAll})
		backoff := weatherlight.Backoff{Initial: 5 * time.Second, Jitter: -1}
		db, _ := addReady(t, s, weatherlight.Spec{Name: "db", Backoff: backoff})
		api, _ := addWorker(t, s, weatherlight.Spec{Name: "api", After: []string{"db"}, Backoff: backoff})
		job, _ := addWorker(t, s, weatherlight.Spec{Name: "job", Restart: weatherlight.Transient})
		off, offHandle := addWorker(t, s, weatherlight.Spec{Name: "off"})
		weatherlighttest.Start(t, s)
		db.Ready()
		job.Return(nil)
		if err := offHandle.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		before := len(rec.Events())

		db.Return(errBoom)
		synctest.Wait()
		wantLines(t, []string{"db backing off", "api waiting", "job ended", "off stopped"}, states(s))
		if !errors.Is(api.Cause(), weatherlight.ErrSiblingFailed) {
			t.Errorf("cause %v, want ErrSiblingFailed", api.Cause())
		}
		if want := "weatherlight: sibling failed: db"; api.Cause().Error() != want {
			t.Errorf("cause %q, want %q", api.Cause(), want)
		}
		time.Sleep(5*time.Second - 1)
		synctest.Wait()
		wantLines(t, []string{"db backing off", "api waiting", "job ended", "off stopped"}, states(s))
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		wantLines(t, []string{"db starting", "api waiting", "job ended", "off stopped"}, states(s))
		db.Ready()
		synctest.Wait()
		wantLines(t, []string{"db running", "api running", "job ended", "off stopped"}, states(s))
		if db.Lives() != 2 || api.Lives() != 2 || job.Lives() != 1 || off.Lives() != 1 {
			t.Errorf("lives %d, %d, %d, %d", db.Lives(), api.Lives(), job.Lives(), off.Lives())
		}
		if n := s.Snapshot().Restarts; n != 2 {
			t.Errorf("%d restarts, want 2", n)
		}
		wantLines(t, []string{
			"db failed", "api stopping", "api stopped", "db started", "db ready", "api started", "api ready",
		}, rec.Lines()[before:])
	})
}

func TestOneForAllStopsSiblingsInReverse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, rec := newSupervisor(t, weatherlight.Config{Strategy: weatherlight.OneForAll})
		addWorker(t, s, weatherlight.Spec{Name: "a"})
		addWorker(t, s, weatherlight.Spec{Name: "b", After: []string{"a"}})
		addWorker(t, s, weatherlight.Spec{Name: "c", After: []string{"b"}})
		lone, _ := addWorker(t, s, weatherlight.Spec{Name: "lone"})
		weatherlighttest.Start(t, s)
		lone.Return(errBoom)
		synctest.Wait()
		wantLines(t, []string{"c stopping", "c stopped", "b stopping", "b stopped", "a stopping", "a stopped"},
			rec.Lines(weatherlight.EventStopping, weatherlight.EventStopped))
	})
}

func TestOneForAllWaitsForTheLongestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newSupervisor(t, weatherlight.Config{Strategy: weatherlight.OneForAll})
		slow, _ := addWorker(t, s, weatherlight.Spec{Name: "slow"})
		slow.IgnoreStop()
		a, _ := addWorker(t, s, weatherlight.Spec{Name: "a", Backoff: weatherlight.Backoff{Initial: time.Second, Jitter: -1}})
		weatherlighttest.Start(t, s)
		a.Return(errBoom)
		time.Sleep(3 * time.Second) // the backoff is over, but the sibling is still there
		synctest.Wait()
		wantLines(t, []string{"slow stopping", "a backing off"}, states(s))
		slow.Release()
		synctest.Wait()
		wantLines(t, []string{"slow running", "a running"}, states(s))
	})
}

func TestOneForAllWaitsForEveryBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newSupervisor(t, weatherlight.Config{Strategy: weatherlight.OneForAll})
		spec := func(name string, backoff time.Duration, after ...string) weatherlight.Spec {
			return weatherlight.Spec{Name: name, After: after, Backoff: weatherlight.Backoff{Initial: backoff, Max: time.Hour, Jitter: -1}}
		}
		base, _ := addWorker(t, s, spec("base", time.Minute))
		stubborn, _ := addWorker(t, s, spec("stubborn", time.Second, "base"))
		stubborn.IgnoreStop()
		first, _ := addWorker(t, s, spec("first", 10*time.Second))
		weatherlighttest.Start(t, s)
		first.Return(errBoom)
		synctest.Wait()
		base.Return(errBoom) // it has not been told to stop: stubborn is still there
		synctest.Wait()
		stubborn.Release()
		time.Sleep(59 * time.Second)
		synctest.Wait()
		wantLines(t, []string{"base backing off", "stubborn waiting", "first backing off"}, states(s))
		time.Sleep(time.Second)
		synctest.Wait()
		wantLines(t, []string{"base running", "stubborn running", "first running"}, states(s))
	})
}

func TestOneForAllGivesUpWhatDoesNotStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newSupervisor(t, weatherlight.Config{Strategy: weatherlight.OneForAll})
		stuck, h := addWorker(t, s, weatherlight.Spec{Name: "stuck", StopTimeout: 2 * time.Second})
		stuck.IgnoreStop()
		a, _ := addWorker(t, s, weatherlight.Spec{Name: "a"})
		weatherlighttest.Start(t, s)
		a.Return(errBoom)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		wantLines(t, []string{"stuck running", "a running"}, states(s))
		if st := h.Status(); st.Abandoned != 1 || stuck.Lives() != 2 {
			t.Errorf("%+v, %d lives", st, stuck.Lives())
		}
		stuck.Release()
		synctest.Wait() // else it would be named at the end
	})
}

func TestOneForAllShutdownDuringBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newSupervisor(t, weatherlight.Config{Strategy: weatherlight.OneForAll})
		a, _ := addWorker(t, s, weatherlight.Spec{Name: "a", Backoff: weatherlight.Backoff{Initial: time.Hour}})
		addWorker(t, s, weatherlight.Spec{Name: "b"})
		r := weatherlighttest.Start(t, s)
		a.Return(errBoom)
		synctest.Wait()
		start := time.Now()
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
		if d := time.Since(start); d != 0 {
			t.Errorf("it took %v", d)
		}
		if snap := s.Snapshot(); snap.BackingOff != 0 {
			t.Errorf("%+v", snap)
		}
	})
}

func TestOneForAllEscalates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newSupervisor(t, weatherlight.Config{Strategy: weatherlight.OneForAll})
		a, _ := addWorker(t, s, weatherlight.Spec{
			Name:    "a",
			Backoff: weatherlight.Backoff{Initial: weatherlight.AtOnce},
			Limit:   weatherlight.Limit{Failures: 1},
		})
		addWorker(t, s, weatherlight.Spec{Name: "b"})
		r := weatherlighttest.Start(t, s)
		a.Return(errBoom)
		a.Return(errBoom)
		err := r.Wait()
		if _, ok := errors.AsType[*weatherlight.EscalationError](err); !ok {
			t.Errorf("Run: %v", err)
		}
	})
}
