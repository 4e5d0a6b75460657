package leyline

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// DefaultMaxBytes is the largest envelope that is sealed or opened unless the
// configuration says otherwise: 1 MiB.
const DefaultMaxBytes = 1 << 20

// CodecConfig configures a [Codec].
type CodecConfig struct {
	// Keys sign and verify. Required.
	Keys *Keyring
	// Source is the attribute source of what is sealed,
	// "<service>/<host>-<boot id>". Empty leaves the attribute out.
	Source string
	// MaxBytes is the largest envelope, in bytes. Zero means
	// [DefaultMaxBytes]; more than 512 MiB means that, the largest value that Redis
	// takes (proto-max-bulk-len).
	MaxBytes int
}

// mostBytes bounds MaxBytes. An envelope notes places within it in 32 bits.
const mostBytes = 512 << 20

// Codec seals messages into the two fields of a stream entry and opens them
// again. It is safe for concurrent use.
type Codec struct {
	cfg CodecConfig
}

// NewCodec returns a codec, or an error that says what the configuration lacks.
func NewCodec(cfg CodecConfig) (*Codec, error) {
	if cfg.Keys.empty() {
		return nil, ErrNoSecret
	}
	if cfg.MaxBytes < 0 {
		return nil, errors.New("leyline: CodecConfig.MaxBytes is negative")
	}
	if !utf8.ValidString(cfg.Source) {
		return nil, errors.New("leyline: CodecConfig.Source is not UTF-8")
	}
	cfg.MaxBytes = min(cmp.Or(cfg.MaxBytes, DefaultMaxBytes), mostBytes)
	return &Codec{cfg}, nil
}

// Header is what travels in the signed attributes beside a message.
type Header struct {
	// IssuedAt is when the message was issued. Zero means now.
	IssuedAt time.Time
	// MessageID identifies the message. Empty means a new UUIDv7.
	MessageID string
	// Audience is the stream that the message is for, without hash tag. Empty
	// leaves the attribute out.
	Audience string
	// TraceParent is the W3C trace context. Empty leaves the attribute out.
	TraceParent string
	// RequestSource is, of an answer, the source of the request. Empty leaves
	// the attribute out.
	RequestSource string
	// Extra are further attributes; keys of the fields above are ignored.
	Extra map[string]string
}

// Seal appends the envelope of msg to dst and returns the extended slice and
// the signature of what was appended. The envelope's bytes are the caller's;
// entries carry them untouched, since the signature is over exactly these.
//
// It fails with [ErrNotABusMessage] for other messages and with [TooLarge] for
// an envelope over the size limit, and for a message or header that nobody could
// open: text that is not UTF-8, an issue time before 1970. It never fails for
// lack of a header field. dst is then as it was.
func (c *Codec) Seal(dst []byte, msg proto.Message, h Header) ([]byte, Signature, error) {
	t, ok := TypeOf(msg)
	if !ok {
		return dst, Signature{}, fmt.Errorf("%w: %T", ErrNotABusMessage, msg)
	}
	start := len(dst)
	size := proto.Size(msg)
	dst = protowire.AppendTag(dst, fieldMessageType, protowire.VarintType)
	dst = protowire.AppendVarint(dst, uint64(t))
	dst = protowire.AppendTag(dst, fieldPayload, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(size))
	dst, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(dst, msg)
	if err != nil {
		return dst[:start], Signature{}, fmt.Errorf("leyline: seal %v: %w", t, err)
	}
	if dst, err = c.appendHeader(dst, h); err != nil {
		return dst[:start], Signature{}, err
	}
	if n := len(dst) - start; n > c.cfg.MaxBytes {
		return dst[:start], Signature{}, fmt.Errorf("%w: %v of %d bytes, at most %d", TooLarge, t, n, c.cfg.MaxBytes)
	}
	return dst, c.cfg.Keys.Sign(dst[start:]), nil
}

func (c *Codec) appendHeader(dst []byte, h Header) ([]byte, error) {
	issued := h.IssuedAt
	if issued.IsZero() {
		issued = time.Now()
	}
	ms := issued.UnixMilli()
	if ms <= 0 {
		return dst, fmt.Errorf("leyline: seal: issued at %v", issued)
	}
	var digits [20]byte
	dst = appendAttribute(dst, AttrIssuedAt, strconv.AppendInt(digits[:0], ms, 10))
	if h.MessageID == "" {
		id := newMessageID(ms)
		dst = appendAttribute(dst, AttrMessageID, id[:])
	}
	for _, a := range [...]struct{ key, value string }{
		{AttrMessageID, h.MessageID},
		{AttrAudience, h.Audience},
		{AttrSource, c.cfg.Source},
		{AttrTraceParent, h.TraceParent},
		{AttrRequestSource, h.RequestSource},
	} {
		if a.value == "" {
			continue
		}
		if !utf8.ValidString(a.value) {
			return dst, fmt.Errorf("leyline: seal: attribute %s is not UTF-8", a.key)
		}
		dst = appendAttribute(dst, a.key, a.value)
	}
	if len(h.Extra) == 0 {
		return dst, nil
	}
	for _, key := range slices.Sorted(maps.Keys(h.Extra)) {
		switch key {
		case AttrIssuedAt, AttrMessageID, AttrAudience, AttrSource, AttrTraceParent, AttrRequestSource:
			continue
		}
		if !utf8.ValidString(key) || !utf8.ValidString(h.Extra[key]) {
			return dst, fmt.Errorf("leyline: seal: attribute %q is not UTF-8", key)
		}
		dst = appendAttribute(dst, key, h.Extra[key])
	}
	return dst, nil
}

// Open verifies and decodes the two fields of an entry, in this order: size
// limit, signature, envelope. Bytes without a valid signature reach no parser
// and cause no allocation. The envelope aliases payload, which must not change
// while it is in use.
//
// The error is, or wraps, [TooLarge], [Unsigned], [BadSignature] or
// [Malformed]. Whether the type is known, and the message inside whole, is for
// [Decode] to say; whether it is current, for a [Guard].
func (c *Codec) Open(payload, signature []byte) (Envelope, error) {
	if len(payload) > c.cfg.MaxBytes {
		return Envelope{}, TooLarge
	}
	if err := c.cfg.Keys.Verify(payload, signature); err != nil {
		return Envelope{}, err
	}
	return parseEnvelope(payload)
}
