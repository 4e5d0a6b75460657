package main

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
)

// observer reads what the fleet says of itself on the bus: telemetry packets, on
// their own stream and on the emergency stream, where the Python side puts those
// of high priority, and emergency signals. It is no member of any group and
// acknowledges nothing.
type observer struct {
	client *oona.Client

	mu    sync.Mutex
	fleet fleet

	// Of the one that views.
	unverified   int
	unverifiedAt time.Time // when there were more of them than before
}

func newObserver(client *oona.Client) *observer { return &observer{client: client} }

// catchUp reads what was said within the last window, and returns where it ended.
func (o *observer) catchUp(ctx context.Context, window time.Duration) (oona.Cursor, error) {
	streams := o.client.Streams()
	ends, err := o.client.Tail(ctx, streams.Telemetry, streams.Emergency)
	if err != nil {
		return nil, err
	}
	from, err := o.client.Since(ctx, o.client.Now().Add(-window), streams.Telemetry, streams.Emergency)
	if err != nil {
		return nil, err
	}
	for stream, end := range ends {
		if from[stream].ID.Compare(end.ID) >= 0 {
			delete(from, stream)
		}
	}
	if len(from) == 0 {
		return ends, nil
	}
	following, done := context.WithCancel(ctx)
	defer done()
	// The last entry of a stream may have been deleted: then nothing comes,
	// though Redis answers.
	quiet := time.AfterFunc(quietTime, func() {
		if o.client.Ping(following) == nil {
			done()
		}
	})
	defer quiet.Stop()
	behind := len(from)
	err = o.client.Follow(following, oona.Following{
		From:  from,
		Types: observedTypes,
		Advance: func(stream string, at oona.Position) {
			quiet.Reset(quietTime)
			if end, ok := ends[stream]; ok && at.ID.Compare(end.ID) >= 0 {
				from[stream] = at
				delete(ends, stream)
				if behind--; behind == 0 {
					done()
				}
			}
		},
	}, o)
	if err != nil {
		return nil, err
	}
	maps.Copy(from, ends) // of streams that had nothing new
	return from, ctx.Err()
}

// quietTime is how long nothing comes before a reader that catches up has seen
// all.
const quietTime = time.Second

var observedTypes = []pb.BusMessageType{
	pb.BusMessageType_BUS_MESSAGE_TYPE_TELEMETRY,
	pb.BusMessageType_BUS_MESSAGE_TYPE_EMERGENCY_SIGNAL,
}

// Handle takes what came; see [oona.Handler].
func (o *observer) Handle(_ context.Context, batch []*oona.Message) []oona.Result {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, m := range batch {
		o.fleet.observe(m)
	}
	return make([]oona.Result, len(batch))
}

// view returns the fleet as it is now. Processes that have been silent for longer
// than keep are forgotten.
func (o *observer) view(interval, keep time.Duration, bus busView, queues queueReading) fleetView {
	now := o.client.Now()
	bus.window, bus.Unverified = keep, o.countUnverified(now, keep)
	o.mu.Lock()
	defer o.mu.Unlock()
	if bus.Reachable { // otherwise nobody can be heard
		o.fleet.forget(now, keep)
	}
	return o.fleet.view(now, interval, bus, queues)
}

// countUnverified returns how many messages did not verify, 0 if the last of them
// was found longer ago than keep.
func (o *observer) countUnverified(now time.Time, keep time.Duration) int {
	streams := o.client.Streams()
	n := 0
	for _, r := range o.client.Refusals().Snapshot() {
		if (r.Reason == leyline.BadSignature || r.Reason == leyline.Unsigned) && (r.Stream == streams.Telemetry || r.Stream == streams.Emergency) {
			n += int(r.Count)
		}
	}
	if n > o.unverified {
		o.unverified, o.unverifiedAt = n, now
	}
	if now.Sub(o.unverifiedAt) > keep {
		return 0
	}
	return n
}

// lookSettings are the settings of a command that only looks, and waits for
// Redis for at most timeout. Nothing is logged: what is wrong with the bus is
// shown.
func (a *app) lookSettings(timeout time.Duration) (settings, *leyline.KeyFiles, error) {
	s, err := a.settings()
	if err != nil {
		return s, nil, err
	}
	s.BootTimeout = min(s.BootTimeout, timeout)
	quietRedis(slog.New(slog.DiscardHandler))
	keys, err := a.openToolKeys(s, newLogger(a.Err, s.LogFormat, slog.LevelError))
	if err != nil {
		return s, nil, err
	}
	return s, keys, nil
}

// connectToLook connects to the bus for a command that only looks.
func connectToLook(ctx context.Context, s settings, keys *leyline.Keyring) (*oona.Client, error) {
	return connect(ctx, s, keys, newIdentity(), "status", slog.New(slog.DiscardHandler))
}

// observe connects for a command that only looks once, within timeout.
func (a *app) observe(ctx context.Context, timeout time.Duration) (settings, *oona.Client, error) {
	s, keys, err := a.lookSettings(timeout)
	if err != nil {
		return s, nil, err
	}
	client, err := connectToLook(ctx, s, keys.Keyring())
	return s, client, err
}
