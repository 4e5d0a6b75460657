package kasmina

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/sethvargo/go-retry"

	"github.com/esper-lite/esper/oona"
)

// trail remembers how far streams were followed, from one Run to the next.
type trail struct {
	mu     sync.Mutex
	cursor oona.Cursor // nil before the first Run
}

// resume returns where to follow from: where the last Run stopped, or else what
// start says. It waits while the bus is away; the error is ctx's.
func (t *trail) resume(ctx context.Context, log *slog.Logger, start func(context.Context) (oona.Cursor, error)) (oona.Cursor, error) {
	t.mu.Lock()
	cursor := maps.Clone(t.cursor)
	t.mu.Unlock()
	if cursor != nil {
		return cursor, nil
	}
	backoff := retry.WithJitterPercent(25, retry.WithCappedDuration(2*time.Second, retry.NewExponential(100*time.Millisecond)))
	err := retry.Do(ctx, backoff, func(ctx context.Context) (err error) {
		cursor, err = start(ctx)
		if err != nil && ctx.Err() == nil {
			log.WarnContext(ctx, "the bus does not say how far its streams are, retrying", "error", err)
		}
		return retry.RetryableError(err)
	})
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cursor = maps.Clone(cursor)
	return cursor, nil
}

// advance notes how far a stream was followed.
func (t *trail) advance(stream string, at oona.Position) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cursor[stream] = at
}
