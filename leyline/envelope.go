package leyline

import (
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

// Field numbers of BusEnvelope and of the entries of its attribute map.
const (
	fieldMessageType = 1
	fieldPayload     = 2
	fieldAttributes  = 3
	fieldKey         = 1
	fieldValue       = 2
)

// Keys of the signed attributes that our producers add (contract section 9).
const (
	AttrIssuedAt    = "issued_at_ms" // Unix ms, decimal
	AttrMessageID   = "message_id"   // UUIDv7
	AttrAudience    = "audience"     // stream name without hash tag
	AttrSource      = "source"       // <service>/<host>-<boot id>
	AttrTraceParent = "traceparent"  // W3C Trace Context

	// AttrRequestSource stands in an answer only: the source of the request.
	AttrRequestSource = "request_source"
)

// Envelope is a decoded BusEnvelope. Its byte slices alias the bytes that were
// opened and are valid as long as those are.
//
// It is coded by hand because it is on the path of every message: the generated
// code builds a Go map for the attributes, which costs as much as several MACs.
type Envelope struct {
	Type    pb.BusMessageType
	Payload []byte // the serialized inner message

	raw           []byte
	issuedAtMs    int64
	messageID     span
	audience      span
	source        span
	traceParent   span
	requestSource span
}

// span is where in the raw bytes a text stands: a third of a slice. A consumer
// holds an envelope for each of its messages.
type span struct{ start, end uint32 }

func (s span) len() int { return int(s.end - s.start) }

// text returns what stands there; it aliases the raw bytes.
func (e *Envelope) text(s span) []byte { return e.raw[s.start:s.end] }

// spanOf finds a part of the raw bytes: both have the same end of capacity.
func (e *Envelope) spanOf(part []byte) span {
	start := cap(e.raw) - cap(part)
	return span{uint32(start), uint32(start + len(part))}
}

// IssuedAtMs returns the attribute issued_at_ms; 0 where it is absent.
func (e Envelope) IssuedAtMs() int64 { return e.issuedAtMs }

// MessageID returns the attribute message_id.
func (e Envelope) MessageID() string { return string(e.text(e.messageID)) }

// Audience returns the attribute audience.
func (e Envelope) Audience() string { return string(e.text(e.audience)) }

// Source returns the attribute source.
func (e Envelope) Source() string { return string(e.text(e.source)) }

// SourceIs reports whether source is the attribute source, without a copy of it.
func (e *Envelope) SourceIs(source string) bool { return string(e.text(e.source)) == source }

// RequestSource returns the attribute request_source.
func (e Envelope) RequestSource() string { return string(e.text(e.requestSource)) }

// TraceParent returns the attribute traceparent.
func (e Envelope) TraceParent() string { return string(e.text(e.traceParent)) }

// Attribute returns the value of any attribute, and whether it is there. Of a
// repeated key the last one counts, as in every protobuf map. It walks the
// envelope: linear in its size.
func (e Envelope) Attribute(key string) (value string, ok bool) {
	_ = e.walk(func(k, v []byte) {
		if string(k) == key {
			value, ok = string(v), true
		}
	})
	return value, ok
}

// Attributes returns all attributes as a map of the caller's; nil where there
// are none.
func (e Envelope) Attributes() map[string]string {
	var all map[string]string
	_ = e.walk(func(k, v []byte) {
		if all == nil {
			all = make(map[string]string)
		}
		all[string(k)] = string(v)
	})
	return all
}

func (e Envelope) walk(visit func(key, value []byte)) error {
	var scratch Envelope
	return scratch.parse(e.raw, visit)
}

// parseEnvelope decodes raw. The error, if any, is or wraps [Malformed].
func parseEnvelope(raw []byte) (Envelope, error) {
	e := Envelope{raw: raw}
	if err := e.parse(raw, nil); err != nil {
		return Envelope{}, err
	}
	if e.Type == pb.BusMessageType_BUS_MESSAGE_TYPE_UNSPECIFIED {
		return Envelope{}, fmt.Errorf("%w: envelope without a message type", Malformed)
	}
	return e, nil
}

// parse reads the fields of an envelope. A nil visit notes the attributes that
// this package knows; what is visited was noted before, and is UTF-8. Fields of
// another number or wire type are skipped, as protobuf asks.
func (e *Envelope) parse(b []byte, visit func(key, value []byte)) error {
	for len(b) > 0 {
		num, typ, rest, err := consumeTag(b)
		if err != nil {
			return fmt.Errorf("%w: envelope: %w", Malformed, err)
		}
		b = rest
		var n int
		switch {
		case num == fieldMessageType && typ == protowire.VarintType:
			var v uint64
			v, n = protowire.ConsumeVarint(b)
			e.Type = pb.BusMessageType(int32(v))
		case num == fieldPayload && typ == protowire.BytesType:
			e.Payload, n = protowire.ConsumeBytes(b)
		case num == fieldAttributes && typ == protowire.BytesType:
			var entry []byte
			entry, n = protowire.ConsumeBytes(b)
			if n >= 0 {
				if err := e.parseAttribute(entry, visit); err != nil {
					return err
				}
			}
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return fmt.Errorf("%w: envelope: %w", Malformed, protowire.ParseError(n))
		}
		b = b[n:]
	}
	return nil
}

func (e *Envelope) parseAttribute(b []byte, visit func(key, value []byte)) error {
	key, value, ok := shortEntry(b)
	if !ok {
		var err error
		if key, value, err = parseEntry(b); err != nil {
			return fmt.Errorf("%w: attribute: %w", Malformed, err)
		}
	}
	if visit != nil {
		visit(key, value)
		return nil
	}
	return e.note(key, value)
}

// shortEntry reads an entry of the attribute map as nearly all of them are: key,
// then value, each shorter than 128 bytes, and nothing else. There are five in
// every message of ours.
func shortEntry(b []byte) (key, value []byte, ok bool) {
	const keyTag, valueTag = fieldKey<<3 | 2, fieldValue<<3 | 2
	if len(b) < 4 || b[0] != keyTag || b[1] >= 128 {
		return nil, nil, false
	}
	end := 2 + int(b[1])
	if len(b) < end+2 || b[end] != valueTag || int(b[end+1]) != len(b)-end-2 || b[end+1] >= 128 {
		return nil, nil, false
	}
	return b[2:end], b[end+2:], true
}

// parseEntry reads any entry of the attribute map. Of a key or value that comes
// more than once the last one counts, and all must be UTF-8.
func parseEntry(b []byte) (key, value []byte, err error) {
	for len(b) > 0 {
		num, typ, rest, err := consumeTag(b)
		if err != nil {
			return nil, nil, err
		}
		b = rest
		var n int
		var text []byte
		switch {
		case num == fieldKey && typ == protowire.BytesType:
			text, n = protowire.ConsumeBytes(b)
			key = text
		case num == fieldValue && typ == protowire.BytesType:
			text, n = protowire.ConsumeBytes(b)
			value = text
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return nil, nil, protowire.ParseError(n)
		}
		if !utf8.Valid(text) {
			return nil, nil, errUTF8
		}
		b = b[n:]
	}
	return key, value, nil
}

// What protowire lets pass and the generated code refuses.
var (
	errUTF8        = errors.New("text is not UTF-8")
	errFieldNumber = errors.New("field number over the limit")
)

// consumeTag reads the tag of a field and returns the bytes that follow.
func consumeTag(b []byte) (protowire.Number, protowire.Type, []byte, error) {
	num, typ, n := protowire.ConsumeTag(b)
	if n < 0 {
		return 0, 0, nil, protowire.ParseError(n)
	}
	if num > protowire.MaxValidNumber {
		return 0, 0, nil, errFieldNumber
	}
	return num, typ, b[n:], nil
}

// note keeps the attributes that this package knows, and refuses what is not UTF-8: a
// key that is known is.
func (e *Envelope) note(key, value []byte) error {
	switch string(key) {
	case AttrIssuedAt:
		ms, err := strconv.ParseInt(string(value), 10, 64)
		if err != nil || ms <= 0 {
			return fmt.Errorf("%w: attribute %s is not a time in ms", Malformed, AttrIssuedAt)
		}
		e.issuedAtMs = ms
	case AttrMessageID:
		e.messageID = e.spanOf(value)
	case AttrAudience:
		e.audience = e.spanOf(value)
	case AttrSource:
		e.source = e.spanOf(value)
	case AttrTraceParent:
		e.traceParent = e.spanOf(value)
	case AttrRequestSource:
		e.requestSource = e.spanOf(value)
	default:
		if !utf8.Valid(key) {
			return fmt.Errorf("%w: attribute: %w", Malformed, errUTF8)
		}
	}
	if !utf8.Valid(value) {
		return fmt.Errorf("%w: attribute: %w", Malformed, errUTF8)
	}
	return nil
}

// appendAttribute appends one entry of the attribute map.
func appendAttribute[V ~string | ~[]byte](b []byte, key string, value V) []byte {
	size := protowire.SizeTag(fieldKey) + protowire.SizeBytes(len(key)) +
		protowire.SizeTag(fieldValue) + protowire.SizeBytes(len(value))
	b = protowire.AppendTag(b, fieldAttributes, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	b = protowire.AppendTag(b, fieldKey, protowire.BytesType)
	b = protowire.AppendString(b, key)
	b = protowire.AppendTag(b, fieldValue, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(len(value)))
	return append(b, value...)
}
