package oona

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/proto"

	"github.com/esper-lite/esper/leyline"
)

// Receipt says where a message was published.
type Receipt struct {
	Stream string
	ID     EntryID
	// Err is set for a message that was not published, or of which it is not
	// known: the connection broke before the answer.
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
}

// Publish seals messages and adds each to the stream of its type, in one round
// trip, in their order. The receipts are in the same order.
//
// Either every message was published and the error is nil, or the error wraps
// the first of those in the receipts. Nothing is published when any message cannot be
// sealed. A message whose receipt says that the connection broke may have been
// published: publish it again only if its readers know it by a nonce.
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
	sealed, err := c.sealAll(out)
	if err != nil {
		c.stats.publishDropped.Add(int64(len(out)))
		return nil, err
	}
	pipe := c.rdb.Pipeline()
	cmds := make([]*redis.StringCmd, len(sealed))
	for i, s := range sealed {
		cmds[i] = pipe.XAdd(ctx, &redis.XAddArgs{
			Stream: s.stream,
			Values: []any{fieldPayload, s.payload, fieldSignature, s.signature[:]},
		})
	}
	sampled := c.sampleWith(ctx, pipe)
	// Each command carries its own error; Exec returns the first of them.
	_, _ = pipe.Exec(ctx)
	sampled()
	receipts := make([]Receipt, len(sealed))
	failed := 0
	for i, cmd := range cmds {
		receipts[i] = receiptOf(sealed[i].stream, cmd)
		if receipts[i].Err != nil {
			failed++
			err = cmp.Or(err, receipts[i].Err)
		}
	}
	c.stats.published(len(sealed)-failed, failed, time.Since(start))
	if failed > 1 {
		err = fmt.Errorf("%w (and %d more of %d messages)", err, failed-1, len(sealed))
	}
	return receipts, err
}

func receiptOf(stream string, cmd *redis.StringCmd) Receipt {
	r := Receipt{Stream: stream}
	text, err := cmd.Result()
	if err == nil {
		r.ID, err = ParseEntryID(text)
	}
	if err != nil {
		r.Err = fmt.Errorf("oona: publish to %s: %w", stream, err)
	}
	return r
}

// sealedMessage is a message ready to be added.
type sealedMessage struct {
	stream    string
	payload   []byte
	signature leyline.Signature
}

func (c *Client) sealAll(out []Outgoing) ([]sealedMessage, error) {
	sealed := make([]sealedMessage, len(out))
	for i, o := range out {
		s, err := c.seal(nil, o)
		if err != nil {
			return nil, err
		}
		sealed[i] = s
	}
	return sealed, nil
}

// seal appends the envelope to buf, which may be nil.
func (c *Client) seal(buf []byte, o Outgoing) (sealedMessage, error) {
	stream := o.Stream
	if stream == "" {
		t, _ := leyline.TypeOf(o.Message)
		var ok bool
		if stream, ok = c.cfg.Streams.Route(t); !ok {
			return sealedMessage{}, fmt.Errorf("oona: %w: %T", leyline.ErrNotABusMessage, o.Message)
		}
	}
	o.Header.Audience = audience(stream)
	start := len(buf)
	buf, signature, err := c.cfg.Codec.Seal(buf, o.Message, o.Header)
	if err != nil {
		return sealedMessage{}, fmt.Errorf("oona: publish to %s: %w", stream, err)
	}
	return sealedMessage{stream: stream, payload: buf[start:], signature: signature}, nil
}
