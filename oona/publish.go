package oona

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

// ErrUncertain is in the error of a message that may have been published: the
// connection broke before the answer. Publish it again only if its readers know
// it by a nonce; [Outgoing.Once] is the other way.
var ErrUncertain = errors.New("oona: the outcome is not known")

// Receipt says where a message was published.
type Receipt struct {
	Stream string
	ID     EntryID
	// Err is set for a message that was not published; it is or wraps
	// [ErrUncertain] where that is not known.
	Err error
}

// Outgoing is a message with what to say about it beyond its content.
type Outgoing struct {
	Message proto.Message
	// Stream is where to publish. Empty means the stream of the message's
	// type.
	Stream string
	// Header is what travels in the signed attributes. Its Audience is
	// overwritten with the stream.
	Header leyline.Header
	// Priority says until when the message is accepted while work piles up; see
	// [ErrBackPressure]. Unspecified means NORMAL.
	Priority pb.MessagePriority
	// Once has the message published at most once, however often it is sent
	// under the same Header.MessageID within [OnceFor]; a further sending returns
	// the receipt of the first. Where Header.MessageID is empty it gets one, which
	// covers the tries of one call: Send then repeats by itself what it does not
	// know the outcome of.
	Once bool
}

// OnceFor is how long it is remembered that a message was published once.
const OnceFor = time.Hour

// Publish seals messages and adds each to the stream of its type, in one round
// trip, in their order. The receipts are in the same order.
//
// Either every message was published and the error is nil, or the error wraps
// the first of those in the receipts. Nothing is published, and there are no
// receipts, when any message cannot be sealed, or lacks what every reader demands
// of its type: a KernelPrefetchRequest its request_id and issued_at, an
// AdaptationCommand its command_id and issued_at, an answer its request_id. The
// error is then [leyline.Malformed] or, without a time, [leyline.Stale]: what a
// reader would have refused it as. Neither is filled in, since an id and a time
// that the caller does not know are of no use to him for the answer and a retry.
//
// Calls from many goroutines share round trips: while one is under way, the
// others wait and then go together. A call that waits returns when its context
// ends, and has published nothing.
func (c *Client) Publish(ctx context.Context, msgs ...proto.Message) ([]Receipt, error) {
	out := make([]Outgoing, len(msgs))
	for i, m := range msgs {
		out[i].Message = m
	}
	return c.Send(ctx, out...)
}

// Send is [Client.Publish] for messages with a stream or a header of their own.
func (c *Client) Send(ctx context.Context, out ...Outgoing) ([]Receipt, error) {
	if len(out) == 0 {
		return nil, nil
	}
	start := time.Now()
	receipts := make([]Receipt, len(out))
	err := c.admitAll(ctx, out, receipts)
	var adding *addition
	if err == nil {
		adding, err = c.sealAll(out, receipts)
	}
	if err != nil {
		c.stats.publishDropped.Add(int64(len(out)))
		return nil, err
	}
	if len(adding.msgs) > 0 {
		c.additions.add(ctx, c, adding)
	}
	adding.memory.done()
	failed := 0
	for i := range receipts {
		if receipts[i].Err == nil {
			continue
		}
		if failed++; err == nil {
			err = receipts[i].Err
		}
	}
	c.stats.published(len(out)-failed, failed, time.Since(start))
	if failed > 1 {
		err = fmt.Errorf("%w (and %d more of %d messages)", err, failed-1, len(out))
	}
	return receipts, err
}

// sealAll seals what was admitted.
func (c *Client) sealAll(out []Outgoing, receipts []Receipt) (*addition, error) {
	sealer := c.sealer(len(out))
	a := &addition{memory: sealer.memory, msgs: sealer.room(len(out))[:0]}
	for i := range out {
		if receipts[i].Err != nil {
			continue
		}
		s, err := sealer.seal(receipts[i].Stream, &out[i])
		if err != nil {
			return nil, err
		}
		s.receipt = &receipts[i]
		a.msgs = append(a.msgs, s)
	}
	return a, nil
}

// route returns the stream on which a message travels.
func (c *Client) route(m proto.Message) (string, error) {
	t, _ := leyline.TypeOf(m)
	if stream, ok := c.cfg.Streams.Route(t); ok {
		return stream, nil
	}
	return "", fmt.Errorf("oona: %w: %T", leyline.ErrNotABusMessage, m)
}

// complete says what m lacks that every reader demands of its type: a message
// without it would be refused where its author does not see it.
func complete(m proto.Message) error {
	t, _ := leyline.TypeOf(m)
	id, err := leyline.IdentityOf(leyline.Envelope{Type: t}, m)
	if err != nil {
		return err
	}
	if id.Dated && id.IssuedAtMs == 0 {
		return fmt.Errorf("%w: %v without issued_at", leyline.Stale, t)
	}
	return nil
}
