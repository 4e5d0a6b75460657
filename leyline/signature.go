package leyline

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"hash"
	"sync"
)

// SignatureLen is the length of a signature: padded standard base64 (RFC 4648
// section 4) of the 32 bytes of HMAC-SHA256 (contract section 1).
const SignatureLen = 44

// Signature is the text of an entry's signature field.
type Signature [SignatureLen]byte

// String returns the signature as it stands in the entry.
func (s Signature) String() string { return string(s[:]) }

// macKey computes MACs under one key. The hash states, which hold the padded
// key already absorbed, are reused: that saves two of four compressions.
type macKey struct {
	states sync.Pool // of *macState
}

type macState struct {
	hash hash.Hash
	sum  [sha256.Size]byte
	text Signature
}

func newMACKey(s Secret) *macKey {
	return &macKey{states: sync.Pool{New: func() any {
		return &macState{hash: hmac.New(sha256.New, s.bytes())}
	}}}
}

// compute leaves the signature of payload in the state's text.
func (m *macState) compute(payload []byte) {
	m.hash.Reset()
	m.hash.Write(payload)
	base64.StdEncoding.Encode(m.text[:], m.hash.Sum(m.sum[:0]))
}

func (k *macKey) sign(payload []byte) Signature {
	m := k.states.Get().(*macState)
	m.compute(payload)
	text := m.text
	k.states.Put(m)
	return text
}

// verify returns 1 for the signature of payload and 0 for anything else. It
// compares text, not decoded bytes: base64 has several spellings of one MAC,
// and only the canonical one is a signature.
func (k *macKey) verify(payload, signature []byte) int {
	m := k.states.Get().(*macState)
	m.compute(payload)
	ok := subtle.ConstantTimeCompare(m.text[:], signature)
	k.states.Put(m)
	return ok
}
