package oona

import (
	"crypto/sha256"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

// maxNonce is the longest nonce that is kept as it is. A longer one, as a UUID
// is, is kept as 128 bits of its SHA-256, so that no message can make the guard
// hold more than 112 bytes of Redis.
const maxNonce = 24

// digestMark begins what is a digest, and nothing else.
const digestMark = '#'

// identify fixes what the replay check knows a delivery by.
func (d *delivery) identify(streams *Streams) {
	if d.identity.Nonce == "" {
		return
	}
	d.nonce = d.digest.shorten(scopeOf(d.Envelope.Type), d.identity.Nonce)
	d.holder = d.text
	// Two streams can have the same id: away from the stream where such
	// messages belong, the stream is part of the holder.
	if home, _ := streams.Route(d.Envelope.Type); home != d.Stream {
		d.holder = d.text + "@" + d.Stream
	}
}

// issuedAtMs dates the nonce: by the message, or by its arrival where it does
// not say.
func (d *delivery) issuedAtMs() int64 {
	if d.identity.IssuedAtMs != 0 {
		return d.identity.IssuedAtMs
	}
	return d.Arrival.UnixMilli()
}

// scopeOf keeps the ids of different kinds of messages apart: a request and its
// answer share one. Ready and error answers share a scope (contract section 2).
func scopeOf(t pb.BusMessageType) string {
	switch t {
	case pb.BusMessageType_BUS_MESSAGE_TYPE_KERNEL_PREFETCH_REQUEST:
		return "r:"
	case pb.BusMessageType_BUS_MESSAGE_TYPE_KERNEL_PREFETCH_READY,
		pb.BusMessageType_BUS_MESSAGE_TYPE_KERNEL_PREFETCH_ERROR:
		return "a:"
	case pb.BusMessageType_BUS_MESSAGE_TYPE_ADAPTATION_COMMAND:
		return "c:"
	}
	return "m:"
}

// digest is the memory of a nonce that is kept as one.
type digest [1 + 16]byte

// shorten returns a nonce with its scope, bounded in length; it may share the digest,
// which then must not change.
func (d *digest) shorten(scope, nonce string) string {
	if n := len(scope) + len(nonce); n <= maxNonce && (scope != "" || nonce == "" || nonce[0] != digestMark) {
		return scope + nonce
	}
	var space [4 * maxNonce]byte // enough for what is usual
	sum := sha256.Sum256(append(append(space[:0], scope...), nonce...))
	d[0] = digestMark
	copy(d[1:], sum[:])
	return view(d[:])
}
