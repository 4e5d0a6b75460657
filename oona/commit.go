package oona

import (
	"context"
	_ "embed"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed commit.lua
var commitSource string

var commitScript = redis.NewScript(noncesSource + commitSource)

// commitArgs builds the keys and arguments of one commit. It is reused from
// batch to batch and keeps its memory.
type commitArgs struct {
	nonceArgs
	parts   []part
	others  []int          // the batch's indexes of what is in no part
	streams map[string]int // answer stream → 1-based position
	first   int            // how many keys come before those
}

// part is what most batches consist of: entries that are done, whose nonces are in
// one bucket, each with one answer to one stream. See commit.lua.
type part struct {
	bucket  int64
	stream  string
	members []int // the batch's indexes
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
		if i == maxBatch || i > 0 && size > maxCommitBytes || o.nonce() != "" && !a.reach(k, o.d.issuedAtMs()) {
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

// usual reports whether the outcome can be in a part.
func (o *outcome) usual() bool {
	return o.verb == finish && o.d.nonce != "" && len(o.answers) == 1 && o.d.holder == o.d.text
}

// build lays out a batch that fits for the script; see commit.lua for the form.
func (a *commitArgs) build(k keyspace, sub *Subscription, consumer, dead string, batch []outcome) {
	a.reset()
	a.sort(k, batch)
	a.begin(k, sub.Group, sub.Stream)
	a.keys = append(a.keys, k.failures(sub.Stream, sub.Group), dead)
	a.first = len(a.keys)
	a.args = append(a.args, sub.Group, consumer, a.least(batch), len(a.parts))
	for i := range a.parts {
		a.part(&a.parts[i], batch)
	}
	for _, i := range a.others {
		a.other(k, sub, consumer, &batch[i])
	}
}

// sort divides a batch into parts and others and numbers the nonces, those of the
// parts first. A nonce that comes twice is in no part the second time.
func (a *commitArgs) sort(k keyspace, batch []outcome) {
	if a.streams == nil {
		a.streams = make(map[string]int)
	}
	clear(a.streams)
	a.parts, a.others = a.parts[:0], a.others[:0]
	for i := range batch {
		o := &batch[i]
		if nonce := o.nonce(); nonce != "" {
			a.reach(k, o.d.issuedAtMs())
			if _, twice := a.index[nonce]; !twice && o.usual() {
				a.index[nonce] = 0 // its number comes
				p := a.partOf(k.bucket(o.d.issuedAtMs()), o.answers[0].stream)
				p.members = append(p.members, i)
				continue
			}
		}
		a.others = append(a.others, i)
	}
	for i := range a.parts {
		for _, m := range a.parts[i].members {
			a.number(&batch[m].d.nonce)
		}
	}
	for _, i := range a.others {
		if batch[i].nonce() != "" {
			a.number(&batch[i].d.nonce)
		}
	}
}

func (a *commitArgs) partOf(bucket int64, stream string) *part {
	for i := range a.parts {
		if p := &a.parts[i]; p.bucket == bucket && p.stream == stream {
			return p
		}
	}
	if n := len(a.parts); n < cap(a.parts) {
		a.parts = a.parts[:n+1] // with the memory of its members
	} else {
		a.parts = append(a.parts, part{})
	}
	p := &a.parts[len(a.parts)-1]
	p.bucket, p.stream, p.members = bucket, stream, p.members[:0]
	return p
}

// least is the least time of the ids in the parts.
func (a *commitArgs) least(batch []outcome) uint64 {
	least := uint64(math.MaxUint64)
	for i := range a.parts {
		for _, m := range a.parts[i].members {
			least = min(least, batch[m].d.ID.Ms)
		}
	}
	return least
}

func (a *commitArgs) part(p *part, batch []outcome) {
	a.args = append(a.args, a.numbers[p.bucket], a.answerStream(p.stream), len(p.members))
	for _, m := range p.members {
		a.args = append(a.args, &batch[m].d.text)
	}
	for _, m := range p.members {
		s := &batch[m].answers[0]
		a.args = append(a.args, &s.payload, &s.signature)
	}
}

// answerStream returns the position of a stream among those of the answers.
func (a *commitArgs) answerStream(stream string) int {
	pos, ok := a.streams[stream]
	if !ok {
		a.keys = append(a.keys, stream)
		pos = len(a.keys) - a.first
		a.streams[stream] = pos
	}
	return pos
}

func (a *commitArgs) other(k keyspace, sub *Subscription, consumer string, o *outcome) {
	switch o.verb {
	case finish:
		a.begun("d", k, o)
		a.args = append(a.args, len(o.answers))
		for i := range o.answers {
			s := &o.answers[i]
			a.args = append(a.args, a.answerStream(s.stream), &s.payload, &s.signature)
		}
	case acknowledge:
		a.begun("a", k, o)
	case bury:
		a.begun("x", k, o)
		a.letter(sub, consumer, o)
	case keep:
		a.args = append(a.args, "f", &o.d.text, o.d.failed.record())
	}
}

// begun writes what the others have in common.
func (a *commitArgs) begun(letter string, k keyspace, o *outcome) {
	index, bucket := a.place(k, o.nonce(), o.d.issuedAtMs())
	a.args = append(a.args, letter, &o.d.text, index, bucket, &o.d.holder)
}

// codes puts the letters of the script's reply in the order of the batch.
func (a *commitArgs) codes(reply string) []byte {
	codes := make([]byte, len(reply))
	n := 0
	for i := range a.parts {
		for _, m := range a.parts[i].members {
			codes[m] = reply[n]
			n++
		}
	}
	for _, i := range a.others {
		codes[i] = reply[n]
		n++
	}
	return codes
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
	if len(batch) == 1 && batch[0].usual() && !c.sub.ClaimFirst {
		if done, err := c.commitOne(ctx, a, &batch[0]); done || err != nil {
			return []byte{codeApplied}, err
		}
	}
	a.build(c.client.keys, &c.sub, c.client.cfg.Consumer, c.client.cfg.Streams.DeadLetter, batch)
	reply, err := commitScript.Run(ctx, c.client.rdb, a.keys, a.args...).Slice()
	if err != nil {
		return nil, fmt.Errorf("oona: commit on %s: %w", c.sub.Stream, err)
	}
	if len(reply) == 0 {
		return nil, fmt.Errorf("oona: commit on %s: empty reply", c.sub.Stream)
	}
	inOrder, _ := reply[0].(string)
	if err := c.noteTime(reply[1:]); err != nil {
		return nil, fmt.Errorf("oona: commit on %s: %w", c.sub.Stream, err)
	}
	if len(inOrder) != len(batch) {
		return nil, fmt.Errorf("oona: commit on %s answered for %d of %d entries", c.sub.Stream, len(inOrder), len(batch))
	}
	return a.codes(inOrder), nil
}

// noteTime sets the clock by what the server's TIME said.
func (c *consumer) noteTime(reply []any) error {
	var at [2]int64
	if len(reply) != len(at) {
		return fmt.Errorf("%d values for the time", len(reply))
	}
	for i := range at {
		text, _ := reply[i].(string)
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return fmt.Errorf("time in the reply: %w", err)
		}
		at[i] = n
	}
	c.client.clock.set(time.Unix(at[0], at[1]*1000))
	return nil
}
