package leyline

import (
	"errors"
	"sync/atomic"
)

// ErrNoSecret is returned for a keyring without a signing key: a verifier
// without a key would have to pass everything or refuse everything, and both
// look like a working service.
var ErrNoSecret = errors.New("leyline: no signing secret")

// Keyring holds the key that signs and every key that is accepted. It is safe
// for concurrent use, and [Keyring.Rotate] may be called under load: each
// operation uses the keys as they stood when it began. The zero Keyring has no
// key: it refuses everything, and signs once Rotate has given it one.
//
// A fleet changes its key in three steps, each finished everywhere before the
// next: accept the new key, sign with it (and still accept the old one), drop
// the old one. No message is refused on the way.
type Keyring struct {
	keys atomic.Pointer[keySet]
}

// keySet is immutable once published; all[0] signs.
type keySet struct {
	all []*macKey
}

// NewKeyring returns a keyring that signs with signing and accepts signing and
// accepted. Zero and repeated secrets among accepted are left out. It returns
// [ErrNoSecret] when signing is the zero Secret.
func NewKeyring(signing Secret, accepted ...Secret) (*Keyring, error) {
	k := new(Keyring)
	if err := k.Rotate(signing, accepted...); err != nil {
		return nil, err
	}
	return k, nil
}

// Rotate replaces all keys at once. On [ErrNoSecret] nothing changes.
func (k *Keyring) Rotate(signing Secret, accepted ...Secret) error {
	if signing.IsZero() {
		return ErrNoSecret
	}
	known := []Secret{signing}
	set := &keySet{all: []*macKey{newMACKey(signing)}}
next:
	for _, s := range accepted {
		if s.IsZero() {
			continue
		}
		for _, other := range known {
			if s.Equal(other) {
				continue next
			}
		}
		known = append(known, s)
		set.all = append(set.all, newMACKey(s))
	}
	k.keys.Store(set)
	return nil
}

// Len returns the number of distinct keys that are accepted.
func (k *Keyring) Len() int { return len(k.accepted()) }

// empty reports whether there is no key; a nil keyring has none.
func (k *Keyring) empty() bool { return k == nil || k.keys.Load() == nil }

func (k *Keyring) accepted() []*macKey {
	if set := k.keys.Load(); set != nil {
		return set.all
	}
	return nil
}

// Sign returns the signature of payload under the signing key. It panics on a
// keyring without one: bytes that nobody can verify must not leave.
func (k *Keyring) Sign(payload []byte) Signature {
	keys := k.accepted()
	if len(keys) == 0 {
		panic("leyline: Keyring without a key signs nothing")
	}
	return keys[0].sign(payload)
}

// Verify reports whether signature is the signature of payload under any
// accepted key: nil, [Unsigned] or [BadSignature]. The time it takes depends on
// the sizes and the number of keys, never on the content.
func (k *Keyring) Verify(payload, signature []byte) error {
	switch len(signature) {
	case 0:
		return Unsigned
	case SignatureLen:
	default:
		return BadSignature
	}
	ok := 0
	for _, key := range k.accepted() {
		ok |= key.verify(payload, signature)
	}
	if ok == 0 {
		return BadSignature
	}
	return nil
}
