package oona

import (
	"context"
	_ "embed"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed commit.lua
var commitSource string

var commitScript = redis.NewScript(noncesSource + commitSource)

// commitArgs builds the keys and arguments of one commit. It is reused from
// batch to batch and keeps its memory. Strings are passed by their addresses,
// since an address fits into an interface without an allocation.
type commitArgs struct {
	nonceArgs
	streams map[string]int // answer stream → 1-based position
	order   []int          // the batch's indexes in the order of the script's reply
}

// maxCommitBytes bounds what one commit carries, unless one entry is larger.
const maxCommitBytes = 8 << 20

// fit returns how much of a batch goes into one commit.
func (a *commitArgs) fit(k keyspace, batch []outcome) int {
	a.reset()
	size := 0
	for i := range batch {
		o := &batch[i]
		size += o.size()
		if i == maxBatch || i > 0 && size > maxCommitBytes || !a.collect(k, o.nonce(), o.d.issuedAtMs()) {
			return i
		}
	}
	return len(batch)
}

// size is about how many bytes the outcome adds to a commit.
func (o *outcome) size() int {
	n := 0
	for i := range o.answers {
		n += len(o.answers[i].payload)
	}
	if o.verb == bury {
		n += len(o.d.raw.payload)
	}
	return n
}

// build lays out a batch that fits for the script; see commit.lua for the form.
func (a *commitArgs) build(k keyspace, sub *Subscription, consumer, dead string, batch []outcome) {
	a.fit(k, batch)
	if a.streams == nil {
		a.streams = make(map[string]int)
	}
	clear(a.streams)
	a.order = a.order[:0]
	a.begin(k, sub.Group, sub.Stream)
	a.keys = append(a.keys, k.failures(sub.Stream, sub.Group), dead)
	a.args = append(a.args, sub.Group, consumer, 0)
	ndone := len(a.args) - 1
	first := len(a.keys)
	for i := range batch {
		if o := &batch[i]; o.verb == finish && o.d.nonce != "" {
			a.order = append(a.order, i)
			a.args = append(a.args, &o.d.text)
			a.holder(k, o)
			a.answers(first, o)
		}
	}
	a.args[ndone] = len(a.order)
	for i := range batch {
		if o := &batch[i]; o.verb != finish || o.d.nonce == "" {
			a.order = append(a.order, i)
			a.other(k, sub, consumer, first, o)
		}
	}
}

func (a *commitArgs) other(k keyspace, sub *Subscription, consumer string, first int, o *outcome) {
	switch o.verb {
	case finish:
		a.args = append(a.args, "d", &o.d.text)
		a.answers(first, o)
	case acknowledge:
		a.args = append(a.args, "a", &o.d.text)
		a.holder(k, o)
	case bury:
		a.args = append(a.args, "x", &o.d.text)
		a.holder(k, o)
		a.letter(sub, consumer, o)
	case keep:
		a.args = append(a.args, "f", o.d.text, o.d.failed.record())
	}
}

func (a *commitArgs) holder(k keyspace, o *outcome) {
	index, bucket := a.place(k, o.nonce(), o.d.issuedAtMs())
	a.args = append(a.args, index, bucket, &o.d.holder)
}

func (a *commitArgs) answers(first int, o *outcome) {
	a.args = append(a.args, len(o.answers))
	for i := range o.answers {
		s := &o.answers[i]
		pos, ok := a.streams[s.stream]
		if !ok {
			a.keys = append(a.keys, s.stream)
			pos = len(a.keys) - first
			a.streams[s.stream] = pos
		}
		a.args = append(a.args, pos, &s.payload, &s.signature)
	}
}

// letter writes the fields of a dead letter; the script adds the deliveries.
func (a *commitArgs) letter(sub *Subscription, consumer string, o *outcome) {
	d := o.d
	fields := [...]any{
		fieldPayload, d.raw.payload,
		fieldSignature, d.raw.signature,
		deadReason, string(o.reason),
		deadError, d.failed.err,
		deadAttempts, d.failed.attempts,
		deadStream, sub.Stream,
		deadGroup, sub.Group,
		deadEntryID, d.text,
		deadFirstFailed, d.failed.firstMs,
		deadLastFailed, d.failed.lastMs,
		deadConsumer, consumer,
	}
	a.args = append(a.args, len(fields)/2)
	a.args = append(a.args, fields[:]...)
}

// commit runs the script for a batch that fits and returns a code for each of
// it. It may be repeated: what took effect is settled, and is skipped.
func (c *consumer) commit(ctx context.Context, a *commitArgs, batch []outcome) (codes []byte, err error) {
	a.build(c.client.keys, &c.sub, c.client.cfg.Consumer, c.client.cfg.Streams.DeadLetter, batch)
	reply, err := commitScript.Run(ctx, c.client.rdb, a.keys, a.args...).Slice()
	if err != nil {
		return nil, fmt.Errorf("oona: commit on %s: %w", c.sub.Stream, err)
	}
	inOrder, err := c.readReply(reply)
	if err == nil && len(inOrder) != len(batch) {
		err = fmt.Errorf("oona: commit on %s answered for %d of %d entries", c.sub.Stream, len(inOrder), len(batch))
	}
	if err != nil {
		return nil, err
	}
	codes = make([]byte, len(batch))
	for i, at := range a.order {
		codes[at] = inOrder[i]
	}
	return codes, nil
}

func (c *consumer) readReply(reply []any) (string, error) {
	if len(reply) != 3 {
		return "", fmt.Errorf("oona: commit on %s: %d values in the reply", c.sub.Stream, len(reply))
	}
	codes, _ := reply[0].(string)
	var at [2]int64
	for i := range at {
		text, _ := reply[1+i].(string)
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return "", fmt.Errorf("oona: commit on %s: time in the reply: %w", c.sub.Stream, err)
		}
		at[i] = n
	}
	c.client.clock.set(time.Unix(at[0], at[1]*1000))
	return codes, nil
}
