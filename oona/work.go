package oona

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"
	"unsafe"

	"github.com/esper-lite/esper/leyline"
)

// handle takes chunks until there are none. Once ctx has ended it drops what it
// is given: that was not started, and is handed back.
func (c *consumer) handle(ctx, handling context.Context) {
	for chunk := range c.work {
		if ctx.Err() != nil {
			continue
		}
		admitted, decided := c.admit(chunk)
		if len(admitted) > 0 {
			decided = append(decided, c.attempt(handling, admitted)...)
		}
		if len(decided) > 0 {
			c.outcomes <- decided
		}
	}
}

// admit judges the chunk and returns what may be handled and, as outcomes, what
// may not. A delivery that was admitted before is not judged again: it was
// current when it arrived.
func (c *consumer) admit(chunk []*delivery) (admitted []*delivery, refused []outcome) {
	now := c.client.clock.now()
	for _, d := range chunk {
		if d.Body != nil {
			admitted = append(admitted, d)
			continue
		}
		err := c.open(d, now)
		switch {
		case err == nil:
			admitted = append(admitted, d)
		case err == errOthers:
			refused = append(refused, outcome{d: d, verb: acknowledge})
		default:
			refused = append(refused, refusal(d, err, now))
		}
	}
	return admitted, refused
}

// errOthers marks messages of types that the subscription passes over.
var errOthers = fmt.Errorf("%w, for others", leyline.UnexpectedType)

// refusal turns what is wrong with a message into what is done with it: kept as
// a dead letter if it is authentic, forgotten if not.
func refusal(d *delivery, err error, now time.Time) outcome {
	reason := leyline.ReasonOf(err)
	if !reason.Authentic() {
		return outcome{d: d, verb: acknowledge, reason: reason}
	}
	d.failed.note(now, err)
	d.failed.attempts = d.Attempts
	return outcome{d: d, verb: bury, reason: reason}
}

// open verifies, decodes and judges a delivery, cheapest first, and leaves the
// nonce to the commit.
func (c *consumer) open(d *delivery, now time.Time) error {
	id, err := ParseEntryID(d.text)
	if err != nil {
		return fmt.Errorf("%w: %w", leyline.NotAMessage, err)
	}
	d.ID = id
	d.Arrival = arrival(id, now)
	d.Attempts = d.failed.attempts
	if err := c.client.open(&d.Message); err != nil {
		return err
	}
	if d.deliveries > deliveriesMax {
		return fmt.Errorf("%w: delivered %d times", leyline.DeliveriesExhausted, d.deliveries)
	}
	if !c.sub.wants(d.Envelope.Type) {
		if c.sub.Others == AcknowledgeOthers {
			return errOthers
		}
		return fmt.Errorf("%w: %v on %s", leyline.UnexpectedType, d.Envelope.Type, d.Stream)
	}
	if err := c.client.judge(&d.Message); err != nil {
		return err
	}
	if c.sub.TTL > 0 && now.Sub(d.Arrival) > c.sub.TTL {
		return fmt.Errorf("%w: waited for %v, at most %v", leyline.Expired, now.Sub(d.Arrival).Round(time.Millisecond), c.sub.TTL)
	}
	d.identify(&c.client.cfg.Streams)
	return nil
}

// arrival is when an entry came: by its id, unless that is ahead of the
// server's clock. So a backlog does not turn stale, a recorded message that is
// added again does, and an id chosen far ahead changes nothing.
func arrival(id EntryID, now time.Time) time.Time {
	if at := id.Time(); at.Before(now) {
		return at
	}
	return now
}

// open verifies an entry and its envelope, without decoding what is inside.
func (c *Client) open(m *Message) error {
	switch {
	case !m.raw.hasPayload:
		return leyline.NotAMessage
	case !m.raw.hasSignature:
		return leyline.Unsigned
	}
	var err error
	m.Envelope, err = c.cfg.Codec.Open(readOnly(m.raw.payload), readOnly(m.raw.signature))
	if err != nil {
		return err
	}
	if _, ok := leyline.New(m.Envelope.Type); !ok {
		return fmt.Errorf("%w: %d", leyline.UnknownType, m.Envelope.Type)
	}
	return nil
}

// judge decodes an opened message and checks that it is current and meant for
// its stream.
func (c *Client) judge(m *Message) error {
	body, err := leyline.Decode(m.Envelope)
	if err != nil {
		return err
	}
	id, err := leyline.IdentityOf(m.Envelope, body)
	if err != nil {
		return err
	}
	if err := c.cfg.Guard.Admissible(m.Envelope, id, audience(m.Stream), m.Arrival.UnixMilli()); err != nil {
		return err
	}
	m.Body, m.identity = body, id
	return nil
}

// readOnly gives the bytes of a string without copying them: every message
// passes here twice. Nothing writes to them; the codec and the envelope only read.
func readOnly(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// attempt calls the handler once and says what becomes of each message. A
// handler that overruns its deadline is left alone and its results are dropped:
// whatever it still does, the messages have failed this time.
func (c *consumer) attempt(handling context.Context, ds []*delivery) []outcome {
	ctx, cancel := context.WithTimeoutCause(handling, c.sub.HandlerTimeout, errOverran)
	defer cancel()
	batch := make([]*Message, len(ds))
	for i, d := range ds {
		batch[i] = &d.Message
	}
	results := make(chan []Result, 1)
	go func() { results <- protect(ctx, c.handler, batch) }()
	var got []Result
	select {
	case got = <-results:
	case <-ctx.Done():
		select { // a handler that obeys its context answers at once
		case got = <-results:
		case <-time.After(handlerGrace):
			c.client.stats.handlersAbandoned.Add(1)
			c.log.ErrorContext(ctx, "handler ignores its deadline", "messages", len(batch), "entry_id", ds[0].text, "cause", context.Cause(ctx))
			// The handler still has the messages; the retry gets copies.
			ds = c.renew(ds)
		}
	}
	return c.outcomesOf(ctx, ds, got)
}

// handlerGrace is how long a handler may take to notice that its context ended.
const handlerGrace = 100 * time.Millisecond

// errOverran is the cause of a handler's context that passed its deadline.
var errOverran = fmt.Errorf("oona: handler overran its deadline")

// renew replaces deliveries by copies that an abandoned handler cannot see.
func (c *consumer) renew(ds []*delivery) []*delivery {
	fresh := make([]*delivery, len(ds))
	for i, d := range ds {
		copied := *d
		fresh[i] = &copied
	}
	c.held.replace(fresh)
	return fresh
}

// protect runs a handler and turns a panic, or a broken contract, into a failure
// of every message.
func protect(ctx context.Context, h Handler, batch []*Message) (results []Result) {
	defer func() {
		if v := recover(); v != nil {
			results = sameResult(len(batch), newPanicError(v))
		}
	}()
	results = h.Handle(ctx, batch)
	if len(results) != len(batch) {
		return sameResult(len(batch), errResults)
	}
	return results
}

func sameResult(n int, err error) []Result {
	results := make([]Result, n)
	for i := range results {
		results[i].Err = err
	}
	return results
}

// panicError is a panic of a handler.
type panicError struct {
	value any
	stack []byte
}

func newPanicError(v any) error { return &panicError{v, debug.Stack()} }

func (e *panicError) Error() string { return fmt.Sprintf("oona: handler panicked: %v", e.value) }
