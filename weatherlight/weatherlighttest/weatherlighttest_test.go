package weatherlighttest_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/esper-lite/esper/weatherlight"
	"github.com/esper-lite/esper/weatherlight/weatherlighttest"
)

// How a test of an embedder looks: a worker is commanded, time is that of the
// bubble, and what has happened is compared as lines.
func TestCommandedWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := weatherlight.New(weatherlight.Config{})
		if err != nil {
			t.Fatal(err)
		}
		worker := weatherlighttest.NewReadyWorker()
		if _, err := s.Add(weatherlight.Spec{Name: "a", Worker: worker}); err != nil {
			t.Fatal(err)
		}
		record := weatherlighttest.NewRecord(t, s)
		run := weatherlighttest.Start(t, s)
		worker.Ready()
		worker.Return(errors.New("lost"))
		time.Sleep(2 * time.Second)
		worker.Ready()
		if err := run.Stop(); err != nil {
			t.Fatal(err)
		}
		want := []string{"a started", "a ready", "a failed", "a started", "a ready", "a stopping", "a stopped"}
		got := record.Lines(weatherlight.EventStarted, weatherlight.EventReady, weatherlight.EventFailed,
			weatherlight.EventStopping, weatherlight.EventStopped)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		if worker.Lives() != 2 || !errors.Is(worker.Cause(), weatherlight.ErrShutdown) {
			t.Errorf("%d lives, stopped for %v", worker.Lives(), worker.Cause())
		}
	})
}

func TestBeatingWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := weatherlight.New(weatherlight.Config{})
		if err != nil {
			t.Fatal(err)
		}
		worker := weatherlighttest.NewBeatingWorker()
		handle, err := s.Add(weatherlight.Spec{Name: "a", Worker: worker, Heartbeat: time.Second, StopTimeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		worker.IgnoreStop()
		run := weatherlighttest.Start(t, s)
		worker.Ready()
		time.Sleep(900 * time.Millisecond)
		worker.Beat()
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if n := handle.Status().Abandoned; n != 1 {
			t.Errorf("%d given up, want 1", n)
		}
		worker.Release()
		synctest.Wait()
		if err := run.Stop(); err != nil {
			t.Error(err)
		}
	})
}

// After Stop nothing is missing, outside of a bubble too.
func TestRecordIsWhole(t *testing.T) {
	for range 200 {
		s, err := weatherlight.New(weatherlight.Config{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Add(weatherlight.Spec{Name: "a", Worker: weatherlighttest.NewWorker()}); err != nil {
			t.Fatal(err)
		}
		record := weatherlighttest.NewRecord(t, s)
		if err := weatherlighttest.Start(t, s).Stop(); err != nil {
			t.Fatal(err)
		}
		lines := record.Lines()
		if n := len(lines); n == 0 || lines[n-1] != "shutdown" {
			t.Fatalf("the end is missing: %v", lines)
		}
	}
}

// A supervisor that ends by itself is for the test to look at.
func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := weatherlight.New(weatherlight.Config{})
		if err != nil {
			t.Fatal(err)
		}
		worker := weatherlighttest.NewWorker()
		if _, err := s.Add(weatherlight.Spec{
			Name: "a", Worker: worker, Limit: weatherlight.Limit{Failures: 1}, Backoff: weatherlight.Backoff{Initial: weatherlight.AtOnce},
		}); err != nil {
			t.Fatal(err)
		}
		run := weatherlighttest.Start(t, s)
		worker.Panic("one")
		worker.Goexit()
		if _, ok := errors.AsType[*weatherlight.EscalationError](run.Wait()); !ok {
			t.Error("no escalation")
		}
	})
}
