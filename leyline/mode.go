package leyline

import "fmt"

// Mode says how much a consumer demands of a message.
type Mode uint8

const (
	// Compat accepts what Python producers send: our signed attributes are
	// checked where they are present.
	Compat Mode = iota
	// Strict demands issued_at_ms, message_id and audience of every message,
	// so that every type has freshness, identity and a stream it belongs to.
	Strict
)

// String returns "compat" or "strict".
func (m Mode) String() string {
	if m == Strict {
		return "strict"
	}
	return "compat"
}

// UnmarshalText reads "compat" or "strict".
func (m *Mode) UnmarshalText(text []byte) error {
	switch string(text) {
	case "compat":
		*m = Compat
	case "strict":
		*m = Strict
	default:
		return fmt.Errorf("leyline: mode %q is neither compat nor strict", text)
	}
	return nil
}

// MarshalText returns the mode's name.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }
