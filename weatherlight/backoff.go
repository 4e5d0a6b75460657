package weatherlight

import (
	"cmp"
	"time"

	"github.com/sethvargo/go-retry"
)

// Defaults of a [Backoff].
const (
	defaultBackoffInitial = time.Second
	defaultBackoffMax     = 30 * time.Second
	defaultBackoffJitter  = 25
)

// AtOnce as [Backoff.Initial] restarts a worker without any delay.
const AtOnce time.Duration = -1

// Backoff is how long to wait before a worker is restarted: Initial after the
// first failure, twice as long after each further one, up to Max. Each worker
// counts for itself.
type Backoff struct {
	// Initial is the first delay. Zero means 1s; [AtOnce] means never any
	// delay.
	Initial time.Duration
	// Max bounds the delay before jitter. Zero means 30s, or Initial if that
	// is longer.
	Max time.Duration
	// Jitter is how far a delay may be off, in percent, so that workers that
	// failed together do not come back together. Zero means 25; negative
	// means none.
	Jitter int
}

func (b Backoff) withDefaults() Backoff {
	if b.Initial == AtOnce {
		return Backoff{Initial: AtOnce}
	}
	b.Initial = cmp.Or(b.Initial, defaultBackoffInitial)
	b.Max = cmp.Or(b.Max, max(b.Initial, defaultBackoffMax))
	b.Jitter = max(0, cmp.Or(b.Jitter, defaultBackoffJitter))
	return b
}

// wrong says what is wrong with b, empty if nothing.
func (b Backoff) wrong() string {
	switch {
	case b.Initial < AtOnce:
		return "Backoff.Initial is negative"
	case b.Max < 0:
		return "Backoff.Max is negative"
	case b.Jitter > 100:
		return "Backoff.Jitter is above 100"
	case b.Max > 0 && b.Initial > b.Max:
		return "Backoff.Initial is longer than Backoff.Max"
	}
	return ""
}

// sequence returns the delays of a series of failures. Initial must not be
// AtOnce.
func (b Backoff) sequence() retry.Backoff {
	delays := retry.WithCappedDuration(b.Max, retry.NewExponential(b.Initial))
	if b.Jitter == 0 {
		return delays
	}
	return retry.WithJitterPercent(uint64(b.Jitter), delays)
}
