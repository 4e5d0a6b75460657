package urza

import (
	"cmp"
	"context"
	"errors"
	"time"

	"golang.org/x/time/rate"
)

// Defaults of [ScrubConfig].
const (
	DefaultScrubRate     = 32 << 20
	DefaultScrubInterval = 24 * time.Hour
)

// ScrubConfig says how a [Scrubber] works.
type ScrubConfig struct {
	// BytesPerSecond bounds how fast artifacts are read. Zero means
	// DefaultScrubRate, negative no bound.
	BytesPerSecond int

	// Interval is the time from the start of one pass to that of the next; a
	// pass that takes longer is followed by the next at once. Zero means
	// DefaultScrubInterval.
	Interval time.Duration
}

// Scrubber reads the artifacts of a library again and again, slowly, to find
// what no look at a file's identity can: bits that changed by themselves. What
// it finds is reported as an integrity event, and requests find it from then
// on. It is a worker for a supervisor.
type Scrubber struct {
	library  *Library
	limiter  *rate.Limiter
	interval time.Duration
}

// NewScrubber returns a scrubber of a library, which stays the caller's.
func NewScrubber(library *Library, cfg ScrubConfig) *Scrubber {
	limit := rate.Limit(cmp.Or(cfg.BytesPerSecond, DefaultScrubRate))
	if limit < 0 {
		limit = rate.Inf
	}
	return &Scrubber{
		library:  library,
		limiter:  rate.NewLimiter(limit, chunkBytes),
		interval: cmp.Or(cfg.Interval, DefaultScrubInterval),
	}
}

// Run scrubs until ctx ends, beginning an interval from now so that a process
// that keeps restarting does not keep reading, and returns the cause of ctx;
// or [ErrClosed] when the library is closed.
func (s *Scrubber) Run(ctx context.Context) error {
	ticker := time.NewTicker(s.interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
		if err := s.Pass(ctx); err != nil {
			return err
		}
	}
}

// Pass scrubs every artifact once. It fails like Run.
func (s *Scrubber) Pass(ctx context.Context) error {
	for _, e := range s.library.List(Query{}) {
		s.scrub(ctx, e.BlueprintID)
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if s.library.ctx.Err() != nil {
			return ErrClosed
		}
	}
	return nil
}

func (s *Scrubber) scrub(ctx context.Context, blueprintID string) {
	l := s.library
	it := l.index.get(blueprintID)
	if it == nil {
		return // removed since the pass began
	}
	_, _, err := l.reverify(ctx, &it.entry, func(n int) error { return s.limiter.WaitN(ctx, n) })
	if err == nil || ctx.Err() != nil || l.ctx.Err() != nil || errors.Is(err, errChanging) {
		return
	}
	l.secondLook(ctx, it, err) // reports it, unless the record is another by now
}
