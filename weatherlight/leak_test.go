package weatherlight_test

import (
	"bytes"
	"context"
	"runtime/pprof"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/esper-lite/esper/weatherlight"
)

// However workers end, no goroutine of Run is left: neither a worker's nor one of
// the supervisor's, a subscriber's or the reporter's.
func TestRunLeavesNoGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		func() {
			inner, err := weatherlight.New(weatherlight.Config{Strategy: weatherlight.OneForAll})
			if err != nil {
				t.Fatal(err)
			}
			s, err := weatherlight.New(weatherlight.Config{})
			if err != nil {
				t.Fatal(err)
			}
			reporter, err := weatherlight.NewReporter(weatherlight.ReporterConfig{Supervisor: s, Publisher: &wire{}, Instance: "x"})
			if err != nil {
				t.Fatal(err)
			}
			add(t, s, weatherlight.Spec{Name: "telemetry", Worker: reporter})
			add(t, s, weatherlight.Spec{Name: "inner", Worker: inner})
			member, _ := addWorker(t, inner, weatherlight.Spec{Name: "member"})
			addWorker(t, inner, weatherlight.Spec{Name: "sibling"})
			failing, _ := addWorker(t, s, weatherlight.Spec{Name: "failing"})
			exiting, _ := addWorker(t, s, weatherlight.Spec{Name: "exiting"})
			late, lateHandle := addWorker(t, s, weatherlight.Spec{Name: "late", StopTimeout: time.Second})
			silent, _ := addBeating(t, s, weatherlight.Spec{Name: "silent", Heartbeat: time.Second})
			_, unsubscribe := s.Subscribe(1)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- s.Run(ctx) }()
			silent.Ready()
			member.Return(errBoom)
			failing.Panic(errBoom)
			exiting.Goexit()
			late.IgnoreStop()
			if err := lateHandle.Restart(t.Context()); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Minute)
			late.Release()
			synctest.Wait()
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
			unsubscribe()
		}()
		synctest.Wait()
		var profile bytes.Buffer
		if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
			t.Fatal(err)
		}
		if out := profile.String(); strings.Contains(out, "esper/weatherlight.") {
			t.Errorf("left:\n%s", out)
		}
	})
}

// The runtime can find goroutines that can never go on, if it was built to
// (GOEXPERIMENT=goroutineleakprofile).
func TestLeakProfileIsEmpty(t *testing.T) {
	leaks := pprof.Lookup("goroutineleak")
	if leaks == nil {
		t.Skip("this toolchain has no goroutineleak profile")
	}
	s, err := weatherlight.New(weatherlight.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b", "c"} {
		add(t, s, weatherlight.Spec{Name: name, Worker: weatherlight.WorkerFunc(idle)})
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := s.RunReady(ctx, cancel); err != nil {
		t.Fatal(err)
	}
	var found bytes.Buffer
	if err := leaks.WriteTo(&found, 1); err != nil {
		t.Fatal(err)
	}
	if out := found.String(); !strings.HasPrefix(out, "goroutineleak profile: total 0\n") {
		t.Errorf("leaked:\n%s", out)
	}
}
