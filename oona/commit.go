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

var commitScript = redis.NewScript(commitSource)

// commitArgs builds the keys and arguments of one commit. It is reused from
// batch to batch and keeps its memory.
type commitArgs struct {
	keys    []string
	args    []any
	buckets map[int64]int  // bucket number → 1-based position
	streams map[string]int // answer stream → 1-based position
	nonces  map[string]int // scoped nonce → 1-based position
	order   []int64
}

// build lays out a batch for the script; see commit.lua for the form.
func (a *commitArgs) build(k keyspace, sub *Subscription, consumer string, dead string, batch []outcome) {
	a.reset()
	a.collect(k, batch)
	a.keys = append(a.keys[:0], sub.Stream, k.failures(sub.Stream, sub.Group), k.marks(sub.Group), dead)
	for _, b := range a.order {
		a.keys = append(a.keys, k.nonces(sub.Group, b))
	}
	first := len(a.keys)
	a.args = append(a.args[:0], sub.Group, consumer, len(a.order), len(a.nonces))
	a.args = append(a.args, make([]any, len(a.nonces))...)
	for nonce, i := range a.nonces {
		a.args[3+i] = nonce
	}
	for i := range batch {
		a.entry(k, sub, first, &batch[i])
	}
}

func (a *commitArgs) reset() {
	if a.buckets == nil {
		a.buckets, a.streams, a.nonces = make(map[int64]int), make(map[string]int), make(map[string]int)
	}
	clear(a.buckets)
	clear(a.streams)
	clear(a.nonces)
	clear(a.args)
	a.order = a.order[:0]
}

// collect numbers the nonces of a batch and the buckets in which they, or the
// same nonce under another issue time, can be.
func (a *commitArgs) collect(k keyspace, batch []outcome) {
	for i := range batch {
		o := &batch[i]
		if o.verb != finish || o.d.nonce == "" {
			continue
		}
		if _, ok := a.nonces[o.d.nonce]; !ok {
			a.nonces[o.d.nonce] = len(a.nonces) + 1
		}
		own := k.bucket(o.d.issuedAtMs())
		for b := own - neighbours; b <= own+neighbours; b++ {
			if _, ok := a.buckets[b]; !ok {
				a.order = append(a.order, b)
				a.buckets[b] = len(a.order)
			}
		}
	}
}

func (a *commitArgs) entry(k keyspace, sub *Subscription, first int, o *outcome) {
	switch o.verb {
	case acknowledge:
		a.args = append(a.args, "a", o.d.text)
	case keep:
		a.args = append(a.args, "f", o.d.text, o.d.failed.record())
	case bury:
		a.bury(sub, o)
	case finish:
		a.finish(k, first, o)
	}
}

func (a *commitArgs) finish(k keyspace, first int, o *outcome) {
	nonce, bucket := 0, 0
	if o.d.nonce != "" {
		nonce = a.nonces[o.d.nonce]
		bucket = a.buckets[k.bucket(o.d.issuedAtMs())]
	}
	a.args = append(a.args, "d", o.d.text, nonce, bucket, o.d.holder, len(o.answers))
	for i := range o.answers {
		s := &o.answers[i]
		pos, ok := a.streams[s.stream]
		if !ok {
			a.keys = append(a.keys, s.stream)
			pos = len(a.keys) - first
			a.streams[s.stream] = pos
		}
		a.args = append(a.args, pos, s.payload, s.signature[:])
	}
}

func (a *commitArgs) bury(sub *Subscription, o *outcome) {
	d := o.d
	fields := []any{
		fieldPayload, d.raw.payload,
		fieldSignature, d.raw.signature,
		deadReason, string(o.reason),
		deadError, d.failed.err,
		deadAttempts, d.failed.attempts,
		deadStream, sub.Stream,
		deadEntryID, d.text,
		deadFirstFailed, d.failed.firstMs,
		deadLastFailed, d.failed.lastMs,
		deadConsumer, a.args[1],
	}
	a.args = append(a.args, "x", d.text, len(fields)/2)
	a.args = append(a.args, fields...)
}

// commit runs the script for a batch. It repeats the call while Redis is away,
// which is safe: what took effect is no longer pending, and is skipped.
func (c *consumer) commit(ctx context.Context, batch []outcome) (codes string, err error) {
	c.args.build(c.client.keys, &c.sub, c.client.cfg.Consumer, c.client.cfg.Streams.DeadLetter, batch)
	reply, err := commitScript.Run(ctx, c.client.rdb, c.args.keys, c.args.args...).Slice()
	if err != nil {
		return "", fmt.Errorf("oona: commit on %s: %w", c.sub.Stream, err)
	}
	codes, err = c.readReply(reply)
	if err == nil && len(codes) != len(batch) {
		err = fmt.Errorf("oona: commit on %s answered for %d of %d entries", c.sub.Stream, len(codes), len(batch))
	}
	return codes, err
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
