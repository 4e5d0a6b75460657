package leyline

import (
	"errors"
	"slices"
)

// Reason names why a message was not handled (contract section 9). It is an
// error, so that a refusal costs no allocation and errors.Is finds it through
// any wrapping; [ReasonOf] takes it out again.
//
// Reasons come in two kinds. Refused messages are acknowledged and counted and
// leave nothing behind, because anyone who can write to the stream can cause
// them. Authentic messages ([Reason.Authentic]) were signed with a key of ours
// and are kept as dead letters, because they are somebody's work.
type Reason string

// Reasons of messages that are refused: acknowledged, counted, forgotten.
const (
	Unsigned      Reason = "unsigned"       // no signature field, or an empty one
	BadSignature  Reason = "bad_signature"  // not the MAC of these bytes under any accepted key
	TooLarge      Reason = "too_large"      // more bytes than the size limit; not even hashed
	NotAMessage   Reason = "not_a_message"  // the entry has no payload field
	Stale         Reason = "stale"          // issued longer ago than the freshness window, or no time given
	Future        Reason = "future"         // issued further ahead than the allowed clock skew
	Replayed      Reason = "replayed"       // its nonce belongs to another message
	WrongAudience Reason = "wrong_audience" // sealed for another stream
)

// Reasons of authentic messages that cannot be handled: dead-lettered.
const (
	Malformed           Reason = "malformed"            // authentic bytes that do not decode, or lack their nonce
	UnknownType         Reason = "unknown_type"         // a message_type that the schema does not have
	UnexpectedType      Reason = "unexpected_type"      // a type that does not belong on this stream
	Expired             Reason = "expired"              // its deadline or time to live passed before it was read
	AttemptsExhausted   Reason = "attempts_exhausted"   // its handler failed as often as allowed
	DeliveriesExhausted Reason = "deliveries_exhausted" // delivered again and again and never finished
	Rejected            Reason = "rejected"             // the handler gave it up
)

// Error returns the reason with the package's prefix.
func (r Reason) Error() string { return "leyline: " + string(r) }

// Authentic reports whether messages with this reason carried a valid
// signature and were current, and so belong in the dead letters.
func (r Reason) Authentic() bool {
	switch r {
	case Malformed, UnknownType, UnexpectedType, Expired, AttemptsExhausted, DeliveriesExhausted, Rejected:
		return true
	}
	return false
}

// reasons are in the order of contract section 9.
var reasons = [...]Reason{
	Unsigned, BadSignature, TooLarge, NotAMessage, Stale, Future, Replayed, WrongAudience,
	Malformed, UnknownType, UnexpectedType, Expired, AttemptsExhausted, DeliveriesExhausted, Rejected,
}

// Reasons returns every reason, refused ones first, in the order of contract
// section 9. The slice is the caller's.
func Reasons() []Reason { return slices.Clone(reasons[:]) }

// ReasonOf returns the reason in err's tree, or "" where there is none.
func ReasonOf(err error) Reason {
	r, _ := errors.AsType[Reason](err)
	return r
}
