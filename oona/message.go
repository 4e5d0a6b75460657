package oona

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

// Message is one authentic, current message on its way to a [Handler]. A
// handler must not keep it, or anything its Envelope aliases, after it returned;
// Body may be kept.
type Message struct {
	// Stream and ID say where the message stands. The id stays the same over
	// retries and reclaims.
	Stream string
	ID     EntryID
	// Arrival is when the message reached the bus: the smaller of the id's time
	// and the server's clock.
	Arrival time.Time
	// Envelope is what was signed, Body the message inside.
	Envelope leyline.Envelope
	Body     proto.Message
	// Attempts counts the tries of this message that have failed so far, on
	// any consumer.
	Attempts int

	identity leyline.Identity
	raw      rawEntry
}

// Type returns the type of the message.
func (m *Message) Type() pb.BusMessageType { return m.Envelope.Type }

// Nonce returns what the message is known by to the replay check, "" for
// nothing.
func (m *Message) Nonce() string { return m.identity.Nonce }

// rawEntry is the two fields of an entry as they were read.
type rawEntry struct {
	payload      string
	signature    string
	hasPayload   bool
	hasSignature bool
}

// rawOfList returns the fields of an entry that came out of a script: names and
// values in turn.
func rawOfList(fields []any) rawEntry {
	var r rawEntry
	for i := 0; i+1 < len(fields); i += 2 {
		switch fields[i] {
		case fieldPayload:
			r.payload, r.hasPayload = fields[i+1].(string)
		case fieldSignature:
			r.signature, r.hasSignature = fields[i+1].(string)
		}
	}
	return r
}

// Fields of an entry (contract section 1).
const (
	fieldPayload   = "payload"
	fieldSignature = "signature"
)
