package oona

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
)

//go:embed once.lua
var onceSource string

// addition is what one call of Send adds.
type addition struct {
	msgs   []sealedMessage
	memory *sealMemory // that they are in
	// turn tells a call that waited that its messages were added, or that it is
	// to add them itself, and those of the calls that wait behind it.
	turn chan bool
}

// additions lets calls share round trips. One of them leads: it sends, and those
// that come meanwhile wait. When it is done, the first of these leads, for all of
// them. No call waits for more to come, and no goroutine is needed.
type additions struct {
	mu      sync.Mutex
	busy    bool
	waiting []*addition
}

const lead = true

// maxPipeline bounds the messages, and about the bytes, of one round trip.
const (
	maxPipeline      = 1024
	maxPipelineBytes = 4 << 20
)

// add adds the messages and fills in their receipts.
func (q *additions) add(ctx context.Context, c *Client, a *addition) {
	q.mu.Lock()
	if q.busy {
		a.turn = make(chan bool, 1)
		q.waiting = append(q.waiting, a)
		q.mu.Unlock()
		if !q.await(ctx, a) {
			return
		}
		q.mu.Lock()
	}
	q.busy = true
	group := q.joinLocked(a)
	q.mu.Unlock()
	if len(group) == 1 {
		c.addAll(ctx, a.msgs)
	} else {
		// What the others wait for is not to end with the leader's context.
		c.addAll(context.WithoutCancel(ctx), joined(group))
	}
	q.pass(group[1:])
}

// await waits for a's turn and reports whether a is to lead.
func (q *additions) await(ctx context.Context, a *addition) bool {
	select {
	case turn := <-a.turn:
		return turn
	case <-ctx.Done():
	}
	q.mu.Lock()
	i := slices.Index(q.waiting, a)
	if i < 0 { // it is under way, or about to lead
		q.mu.Unlock()
		return <-a.turn
	}
	q.waiting = slices.Delete(q.waiting, i, i+1)
	q.mu.Unlock()
	failAll(a.msgs, fmt.Errorf("oona: publish: %w", context.Cause(ctx)))
	return false
}

// joinLocked returns a and those that wait, as many as fit into a round trip.
func (q *additions) joinLocked(a *addition) []*addition {
	group := []*addition{a}
	messages, n := len(a.msgs), 0
	for _, w := range q.waiting {
		if messages += len(w.msgs); messages > maxPipeline {
			break
		}
		n++
	}
	group = append(group, q.waiting[:n]...)
	q.waiting = slices.Delete(q.waiting, 0, n)
	return group
}

func joined(group []*addition) []sealedMessage {
	var all []sealedMessage
	for _, a := range group {
		all = append(all, a.msgs...)
	}
	return all
}

// pass ends a turn: it tells those that were served, and the next leader.
func (q *additions) pass(served []*addition) {
	for _, a := range served {
		a.turn <- !lead
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		q.busy = false
		return
	}
	next := q.waiting[0]
	q.waiting = slices.Delete(q.waiting, 0, 1)
	next.turn <- lead
}

// addAll adds messages in their order, a pipeline at a time. After a round trip
// that broke, nothing more is sent.
func (c *Client) addAll(ctx context.Context, msgs []sealedMessage) {
	for len(msgs) > 0 {
		n := fitPipeline(msgs)
		if err := c.addSome(ctx, msgs[:n]); err != nil {
			failAll(msgs[n:], fmt.Errorf("oona: publish: not sent, because an earlier message failed: %w", certain(err)))
			return
		}
		msgs = msgs[n:]
	}
}

func fitPipeline(msgs []sealedMessage) int {
	size := 0
	for i := range msgs {
		if size += len(msgs[i].payload); i == maxPipeline || i > 0 && size > maxPipelineBytes {
			return i
		}
	}
	return len(msgs)
}

// addSome adds messages in one round trip, and again those that may be added
// again, while the breaker lets it. It returns why the connection failed, if so.
func (c *Client) addSome(ctx context.Context, msgs []sealedMessage) error {
	backoff := busBackoff()
	for try := 1; ; try++ {
		err := c.addOnce(ctx, msgs)
		var again []sealedMessage
		if err != nil && try < onceTries {
			again = slices.DeleteFunc(slices.Clone(msgs), func(s sealedMessage) bool { return s.once == "" || s.receipt.Err == nil })
		}
		wait, stop := backoff.Next()
		if len(again) == 0 || stop {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
		}
		msgs = again
	}
}

// onceTries is how often a message that is published once is tried in a call.
const onceTries = 4

// addOnce is one round trip. It returns the first failure of the transport.
func (c *Client) addOnce(ctx context.Context, msgs []sealedMessage) error {
	if ctx.Err() != nil { // nothing is sent, and nothing learnt of Redis
		err := fmt.Errorf("oona: publish: %w", context.Cause(ctx))
		failAll(msgs, err)
		return err
	}
	done, err := c.publishing.allow()
	if err != nil {
		failAll(msgs, err)
		return err
	}
	pipe := c.rdb.Pipeline()
	cmds := make([]*redis.StringCmd, len(msgs))
	args := make([]any, 0, addArgs*len(msgs))
	for i := range msgs {
		cmds[i], args = c.command(ctx, &msgs[i], args)
		_ = pipe.Process(ctx, unrepeated{cmds[i]}) // queues
	}
	sampled := c.sampleWith(ctx, pipe, len(msgs))
	// Each command carries its own error; Exec returns the first of them.
	_, _ = pipe.Exec(ctx)
	sampled()
	var broken error
	for i, cmd := range cmds {
		if err := msgs[i].receipt.take(cmd); err != nil && broken == nil {
			broken = err
		}
	}
	done(broken)
	lookAgain(ctx, c.rdb, broken)
	return broken
}

// addArgs is how many arguments one command has at most.
const addArgs = 8

// command adds a message, or adds it unless that was done. Its arguments come behind
// args, which has room for them.
func (c *Client) command(ctx context.Context, s *sealedMessage, args []any) (cmd *redis.StringCmd, all []any) {
	if s.once == "" {
		all = append(args, "xadd", s.stream, "*", fieldPayload, &s.payload, fieldSignature, &s.signature)
	} else {
		all = append(args, "eval", onceSource, 2, s.stream, c.keys.once(s.once), &s.payload, &s.signature, OnceFor.Milliseconds())
	}
	return redis.NewStringCmd(ctx, all[len(args):len(all):len(all)]...), all
}

// unrepeated is a command that go-redis does not send again when its reply was
// lost, whatever the client's retries and redirects are: it may have taken
// effect.
type unrepeated struct{ *redis.StringCmd }

// NoRetry implements redis.Cmder.
func (unrepeated) NoRetry() bool { return true }

// take fills in what became of a message. It returns the error when that was the
// transport's, and not the server's answer.
func (r *Receipt) take(cmd *redis.StringCmd) (broken error) {
	text, err := cmd.Result()
	if err == nil {
		r.ID, err = ParseEntryID(text)
		r.Err = err
		return nil
	}
	if _, answered := errors.AsType[redis.Error](err); answered {
		r.fail(fmt.Errorf("oona: publish to %s: %w", r.Stream, err))
		if transient(err) {
			return r.Err
		}
		return nil
	}
	if dial, ok := errors.AsType[*net.OpError](err); ok && dial.Op == "dial" {
		r.fail(fmt.Errorf("oona: publish to %s: %w", r.Stream, err))
	} else {
		r.fail(fmt.Errorf("oona: publish to %s: %w: %w", r.Stream, ErrUncertain, err))
	}
	return r.Err
}

// fail notes why a message was not published. What an earlier try left uncertain
// stays so, whatever the last one says of itself.
func (r *Receipt) fail(err error) {
	if errors.Is(r.Err, ErrUncertain) && !errors.Is(err, ErrUncertain) {
		err = fmt.Errorf("%w: %w", ErrUncertain, err)
	}
	r.Err = err
}

// certain is err as the cause of something that certainly was not done.
func certain(err error) error {
	if errors.Is(err, ErrUncertain) {
		return errors.New(err.Error())
	}
	return err
}

func failAll(msgs []sealedMessage, err error) {
	for i := range msgs {
		msgs[i].receipt.fail(err)
	}
}

func newMessageID() string {
	id, err := uuid.NewV7()
	if err != nil { // no randomness: the time part alone is not unique
		return uuid.NewString()
	}
	return id.String()
}
