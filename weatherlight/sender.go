package weatherlight

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/sethvargo/go-retry"
)

// Delays between tries to publish, the last one when the reporter is to end.
const (
	publishBackoffInitial = 500 * time.Millisecond
	publishBackoffMax     = 10 * time.Second
	publishBackoffClosing = 100 * time.Millisecond
	retryGap              = 200 * time.Millisecond // at least, also after Retry
)

// sender publishes the letters of an outbox in order.
type sender struct {
	box       *outbox
	publisher Publisher
	timeout   time.Duration
	closing   <-chan struct{} // closed: return when there are no letters left
	log       *slog.Logger
	delays    retry.Backoff // nil while publishing works
}

// run publishes until ctx ends, or closing is closed and nothing is left.
func (s *sender) run(ctx context.Context) {
	for ctx.Err() == nil {
		l, ok := s.box.take()
		if ok {
			s.send(ctx, l)
			continue
		}
		select {
		case <-s.box.filled:
		case <-s.closing:
			if s.box.len() == 0 {
				return
			}
		case <-ctx.Done():
		}
	}
}

// send publishes l, or puts it back and waits until it can be tried again.
func (s *sender) send(ctx context.Context, l letter) {
	attempt, cancel := context.WithTimeout(ctx, s.timeout)
	err := s.publisher.Publish(attempt, l.packet, l.priority)
	cancel()
	switch {
	case err == nil:
		s.box.sent()
		if s.delays != nil {
			s.delays = nil
			s.log.LogAttrs(ctx, slog.LevelInfo, "telemetry is published again", slog.Int("waiting", s.box.len()))
		}
	case errors.Is(err, ErrRejected):
		s.box.failed.Add(1)
		s.box.dropped.Add(1)
		s.box.sent()
		s.log.LogAttrs(ctx, slog.LevelError, "telemetry packet dropped", slog.Any("error", err))
	default:
		s.box.failed.Add(1)
		s.box.putBack(l)
		if s.delays == nil {
			s.delays = publishBackoff()
			s.log.LogAttrs(ctx, slog.LevelWarn, "telemetry cannot be published and waits", slog.Any("error", err))
		}
		s.pause(ctx)
	}
}

// publishBackoff grows from half a second to ten, with jitter.
func publishBackoff() retry.Backoff {
	return retry.WithJitterPercent(defaultBackoffJitter,
		retry.WithCappedDuration(publishBackoffMax, retry.NewExponential(publishBackoffInitial)))
}

// pause waits before the next try, but no longer than retryGap if publishing is
// said to work again; if it does not quite yet, the delays begin anew. When the
// reporter begins to end, it returns at once, and from then on soon.
func (s *sender) pause(ctx context.Context) {
	delay, _ := s.delays.Next()
	closing := s.closing
	select {
	case <-closing:
		delay, closing = min(delay, publishBackoffClosing), nil
	default:
	}
	began := time.Now()
	timer := time.NewTimer(delay)
	defer timer.Stop()
	for again := s.box.again; ; again = nil {
		select {
		case <-again:
			timer.Reset(min(delay, retryGap) - time.Since(began))
			s.delays = publishBackoff()
			continue
		case <-timer.C:
		case <-closing:
		case <-ctx.Done():
		}
		return
	}
}
