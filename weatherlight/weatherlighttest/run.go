package weatherlighttest

import (
	"context"
	"testing"

	"github.com/esper-lite/esper/weatherlight"
)

// Running is a supervisor that runs on a goroutine of its own.
type Running struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error // after done
	taken  bool  // somebody has looked at err
}

// Start runs s until [Running.Stop] or the end of the test, which it fails if Run
// returned an error that the test has not asked for.
func Start(t testing.TB, s *weatherlight.Supervisor) *Running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	r := &Running{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = s.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-r.done
		if !r.taken && r.err != nil {
			t.Errorf("Supervisor.Run: %v", r.err)
		}
	})
	return r
}

// Stop ends the supervisor's context, waits, and returns what its Run returned.
func (r *Running) Stop() error {
	r.cancel()
	return r.Wait()
}

// Wait waits until the supervisor's Run has returned by itself, and returns what
// it returned.
func (r *Running) Wait() error {
	<-r.done
	r.taken = true
	return r.err
}
