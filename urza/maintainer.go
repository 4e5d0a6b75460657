package urza

import (
	"cmp"
	"context"
	"errors"
	"time"
)

// DefaultMaintenanceInterval is how often a [Maintainer] works.
const DefaultMaintenanceInterval = time.Hour

// MaintainerConfig says how a [Maintainer] works.
type MaintainerConfig struct {
	MaintenanceOptions

	// Interval is the time from the end of one run to the start of the next.
	// Zero means DefaultMaintenanceInterval.
	Interval time.Duration

	// Report, if not nil, is called with what every run found, and with its
	// error or nil.
	Report func(*MaintenanceReport, error)
}

// Maintainer maintains a library again and again. It is a worker for a
// supervisor. Any number of processes may have one for the same library.
type Maintainer struct {
	library *Library
	cfg     MaintainerConfig
}

// NewMaintainer returns a maintainer of a library, which stays the caller's.
func NewMaintainer(library *Library, cfg MaintainerConfig) *Maintainer {
	cfg.Interval = cmp.Or(cfg.Interval, DefaultMaintenanceInterval)
	return &Maintainer{library, cfg}
}

// Run maintains the library until ctx ends, first an interval from now, and
// returns the cause of ctx; or [ErrClosed] when the library is closed. A run
// that fails for any other reason is repeated after the next interval.
func (m *Maintainer) Run(ctx context.Context) error {
	timer := time.NewTimer(m.cfg.Interval)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
		}
		report, err := m.library.Maintain(ctx, m.cfg.MaintenanceOptions)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if errors.Is(err, ErrClosed) {
			return err
		}
		if m.cfg.Report != nil {
			m.cfg.Report(report, err)
		}
		timer.Reset(m.cfg.Interval)
	}
}
