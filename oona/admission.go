package oona

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"google.golang.org/protobuf/proto"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

// ErrBackPressure is the error of a message that was not published because too
// much waits in its stream already; the error is a [*BackPressureError].
//
// How much is too much depends on the message's priority, in percent of
// Config.MaxQueueDepth: from 50 on LOW is refused, from 75 NORMAL, from 85 HIGH,
// from 95 CRITICAL. What waits is what no group has finished, as sampled; see
// [Client.Depth]. Answers of a handler are never refused, nor is what goes to the
// emergency stream.
var ErrBackPressure = errors.New("oona: too much is waiting")

// BackPressureError says what was refused, and how much waits.
type BackPressureError struct {
	Stream   string
	Priority pb.MessagePriority
	Waiting  int64 // entries
	Limit    int64 // for this priority
}

// Error says all of it.
func (e *BackPressureError) Error() string {
	return fmt.Sprintf("%v: %d entries on %s, at most %d for %v", ErrBackPressure, e.Waiting, e.Stream, e.Limit, e.Priority)
}

// Is reports whether target is [ErrBackPressure].
func (e *BackPressureError) Is(target error) bool { return target == ErrBackPressure }

// percents are the levels at which priorities are refused.
var percents = map[pb.MessagePriority]int64{
	pb.MessagePriority_MESSAGE_PRIORITY_LOW:      50,
	pb.MessagePriority_MESSAGE_PRIORITY_NORMAL:   75,
	pb.MessagePriority_MESSAGE_PRIORITY_HIGH:     85,
	pb.MessagePriority_MESSAGE_PRIORITY_CRITICAL: 95,
}

// Levels, in percent of what may wait, between which a client is conservative.
const (
	conservativeFrom  = 75
	conservativeUntil = 50
)

// conservative is the mode of a client while a stream of work is clogged. It
// sends urgent messages around it, on the emergency stream: of the others none,
// and of answers never any.
type conservative struct{ on atomic.Bool }

// note takes what the deepest stream holds.
func (c *conservative) note(waiting, limit int64) {
	switch {
	case waiting*100 >= limit*conservativeFrom:
		c.on.Store(true)
	case waiting*100 < limit*conservativeUntil:
		c.on.Store(false)
	}
}

// admitAll fills in the stream of each message, and the error of those that are
// not to be published now. The error it returns is that of a message that has no
// stream, or that every reader would refuse.
func (c *Client) admitAll(ctx context.Context, out []Outgoing, receipts []Receipt) (err error) {
	for i := range out {
		if receipts[i].Stream = out[i].Stream; out[i].Stream == "" {
			if receipts[i].Stream, err = c.route(out[i].Message); err != nil {
				return err
			}
		}
		if err := complete(out[i].Message); err != nil {
			return fmt.Errorf("oona: publish to %s: %w", receipts[i].Stream, err)
		}
	}
	if !c.depths.known() {
		// Once, before anything else is published. Without an answer, all pass.
		_ = c.Sample(ctx)
	}
	for i := range out {
		receipts[i].Stream, receipts[i].Err = c.admitOne(&out[i], receipts[i].Stream)
	}
	return nil
}

// admitOne returns the stream to use for a message, and why it is not to be
// published.
func (c *Client) admitOne(o *Outgoing, stream string) (string, error) {
	if o.Stream == "" && c.divert(o, stream) && c.emergencies.allow(originOf(o.Message)) {
		c.stats.publishRerouted.Add(1)
		return c.cfg.Streams.Emergency, nil
	}
	if stream == c.cfg.Streams.Emergency {
		if origin := originOf(o.Message); !c.emergencies.allow(origin) {
			return stream, fmt.Errorf("%w: %s", ErrRateLimited, origin)
		}
		return stream, nil
	}
	return stream, c.press(stream, o.Priority)
}

// divert reports whether a message is to go around its stream. Answers never
// are: who asked looks for them on their own stream. Telemetry neither: whoever
// wants it on both sends it to both.
func (c *Client) divert(o *Outgoing, stream string) bool {
	if !c.conservative.on.Load() || o.Priority < pb.MessagePriority_MESSAGE_PRIORITY_HIGH {
		return false
	}
	switch o.Message.(type) {
	case *pb.KernelArtifactReady, *pb.KernelArtifactError, *pb.KernelCatalogUpdate, *pb.TelemetryPacket:
		return false
	}
	return c.Depth(stream).Waiting*100 >= c.cfg.MaxQueueDepth*conservativeFrom
}

// press refuses a message when too much waits in its stream.
func (c *Client) press(stream string, p pb.MessagePriority) error {
	percent, ok := percents[p]
	if !ok {
		p = pb.MessagePriority_MESSAGE_PRIORITY_NORMAL
		percent = percents[p]
	}
	limit := c.cfg.MaxQueueDepth * percent / 100
	if waiting := c.Depth(stream).Waiting; waiting >= limit {
		return &BackPressureError{Stream: stream, Priority: p, Waiting: waiting, Limit: limit}
	}
	return nil
}

// originOf is who is held responsible for a message on the emergency stream.
func originOf(m proto.Message) string {
	switch m := m.(type) {
	case *pb.EmergencySignal:
		return m.GetOrigin()
	case *pb.AdaptationCommand:
		return m.GetIssuedBy()
	case interface{ GetSourceSubsystem() string }: // telemetry, the state of a system
		return m.GetSourceSubsystem()
	}
	return ""
}
