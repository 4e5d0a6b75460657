package oona

import (
	"fmt"
	"time"
	"unsafe"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

// admit judges the chunk and returns what may be handled and, as outcomes, what
// may not. A delivery that was admitted before is not judged again: it was
// current when it arrived. The chunk's memory becomes that of admitted.
func (c *consumer) admit(chunk []*delivery) (admitted []*delivery, decided []outcome) {
	now := c.client.clock.now()
	admitted = chunk[:0]
	for _, d := range chunk {
		if d.decided != nil {
			decided = append(decided, *d.decided)
			continue
		}
		var err error
		if d.Body == nil {
			err = c.open(d, now)
		}
		switch {
		case err == nil:
			admitted = append(admitted, d)
		case err == errOthers:
			decided = append(decided, outcome{d: d, verb: acknowledge})
		default:
			decided = append(decided, refusal(d, err, now))
		}
	}
	return admitted, decided
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
	if err := d.exhausted(); err != nil {
		return err
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
	d.identify(&c.client.cfg.Streams)
	if c.sub.TTL > 0 && now.Sub(d.Arrival) > c.sub.TTL {
		return fmt.Errorf("%w: waited for %v, at most %v", leyline.Expired, now.Sub(d.Arrival).Round(time.Millisecond), c.sub.TTL)
	}
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
	if !known(m.Envelope.Type) {
		return fmt.Errorf("%w: %d", leyline.UnknownType, m.Envelope.Type)
	}
	return nil
}

// known reports whether the schema has the type.
func known(t pb.BusMessageType) bool {
	_, ok := pb.BusMessageType_name[int32(t)]
	return ok && t != pb.BusMessageType_BUS_MESSAGE_TYPE_UNSPECIFIED
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

// decodeAgain gives a delivery a body that nobody else has. It decoded before.
func (d *delivery) decodeAgain() {
	if body, err := leyline.Decode(d.Envelope); err == nil {
		d.Body = body
	}
}

// readOnly gives the bytes of a string without copying them: every message
// passes here twice. Nothing writes to them; the codec and the envelope only read.
func readOnly(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
