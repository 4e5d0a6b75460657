package leyline

import (
	"bytes"
	"fmt"
	"log/slog"
)

// masked is all that a Secret ever shows.
const masked = "[secret]"

// MinSecretBytes is the length below which a secret is weak: 16 bytes carry
// the 112 bits that RFC 2104 and NIST SP 800-107 ask of an HMAC key. Weak
// secrets are accepted in mode compat, with a warning by the program, and
// refused in mode strict.
const MinSecretBytes = 16

// Secret is an HMAC key. It cannot be printed, logged or marshalled, not even
// as an unexported field of a printed struct; its bytes leave this package only
// as MACs. The zero Secret holds no key. Secrets may be copied, and are compared
// with [Secret.Equal].
type Secret struct {
	// A function, because what it has captured is out of reach of reflection:
	// fmt shows unexported fields without asking their methods, and follows
	// pointers when a verb does not suit them.
	key func() []byte
}

// NewSecret copies key. An empty key gives the zero Secret.
func NewSecret[T ~string | ~[]byte](key T) Secret {
	if len(key) == 0 {
		return Secret{}
	}
	kept := []byte(string(key))
	return Secret{func() []byte { return kept }}
}

// bytes returns the key, which must not be changed; nil for none.
func (s Secret) bytes() []byte {
	if s.key == nil {
		return nil
	}
	return s.key()
}

// IsZero reports whether s holds no key.
func (s Secret) IsZero() bool { return s.key == nil }

// Blank reports whether the key is nothing but white space, as of a setting that
// was meant to be filled in. The zero Secret is blank.
func (s Secret) Blank() bool { return len(bytes.TrimSpace(s.bytes())) == 0 }

// Len returns the key's length in bytes.
func (s Secret) Len() int { return len(s.bytes()) }

// Weak reports whether the key is shorter than [MinSecretBytes].
func (s Secret) Weak() bool { return s.Len() < MinSecretBytes }

// Equal reports whether both hold the same key. Its time depends on the keys'
// content: it is for configuration, never for input from the wire.
func (s Secret) Equal(t Secret) bool { return bytes.Equal(s.bytes(), t.bytes()) }

// String returns a mask.
func (Secret) String() string { return masked }

// GoString returns a mask.
func (Secret) GoString() string { return masked }

// Format writes a mask, whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(masked)) }

// LogValue returns a mask.
func (Secret) LogValue() slog.Value { return slog.StringValue(masked) }

// MarshalText returns a mask; JSON and most other encoders use it.
func (Secret) MarshalText() ([]byte, error) { return []byte(masked), nil }

// UnmarshalText takes the text as the key, so that a Secret can be a field of a
// struct that is read from the environment.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = NewSecret(text)
	return nil
}
