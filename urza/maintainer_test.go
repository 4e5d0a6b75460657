package urza_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/esper-lite/esper/urza"
)

// A maintainer works once an interval, goes on after a failure, and ends with
// its context or its library.
func TestMaintainer(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		catalogue := &moody{Memory: urza.NewMemory()}
		l := open(t, urza.Config{WorkDir: dir, Catalogue: catalogue})
		var outcomes []error
		m := urza.NewMaintainer(l, urza.MaintainerConfig{
			MaintenanceOptions: urza.MaintenanceOptions{Disposal: urza.ReportOnly},
			Interval:           time.Minute,
			Report:             func(_ *urza.MaintenanceReport, err error) { outcomes = append(outcomes, err) },
		})
		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- m.Run(ctx) }()
		time.Sleep(90 * time.Second)
		catalogue.set(errors.New("away"), 0)
		time.Sleep(time.Minute)
		catalogue.set(nil, 0)
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(outcomes) != 3 || outcomes[0] != nil || !errors.Is(outcomes[1], urza.ErrUnavailable) || outcomes[2] != nil {
			t.Errorf("three runs came to %v", outcomes)
		}
		cancel(cause)
		if err := <-ended; !errors.Is(err, cause) {
			t.Errorf("with its context it ended with %v", err)
		}
		go func() { ended <- m.Run(t.Context()) }()
		l.Close()
		time.Sleep(2 * time.Minute)
		if err := <-ended; !errors.Is(err, urza.ErrClosed) {
			t.Errorf("with its library it ended with %v", err)
		}
	})
}
