package leyline_test

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

// field appends a field with a length.
func field(b []byte, num protowire.Number, value string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, num, protowire.BytesType), value)
}

func number(b []byte, num protowire.Number, value uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), value)
}

// attribute is an entry of the attribute map as everybody writes it.
func attribute(key, value string) string {
	return string(field(field(nil, 1, key), 2, value))
}

// oddEnvelopes are spellings of an envelope that protobuf allows and nobody
// expects.
func oddEnvelopes() map[string][]byte {
	long := strings.Repeat("x", 128)
	just := strings.Repeat("x", 127)
	group := protowire.AppendTag(protowire.AppendTag(nil, 9, protowire.StartGroupType), 9, protowire.EndGroupType)
	with := func(entry string) []byte { return field(number(nil, 1, 6), 3, entry) }
	return map[string][]byte{
		"only a type":               number(nil, 1, 6),
		"fields in reverse":         number(field(field(nil, 3, attribute("a", "b")), 2, "payload"), 1, 6),
		"type twice":                number(number(nil, 1, 6), 1, 7),
		"payload twice":             field(field(number(nil, 1, 6), 2, "first"), 2, "last"),
		"type of five bytes":        number(nil, 1, 1<<32+6),
		"negative type":             number(nil, 1, 1<<64-1),
		"type as a string":          field(number(nil, 1, 6), 1, "x"),
		"payload as a number":       number(number(nil, 1, 6), 2, 5),
		"attribute as a number":     number(number(nil, 1, 6), 3, 5),
		"unknown field":             field(number(number(nil, 1, 6), 15, 1), 16, "x"),
		"unknown group":             append(number(nil, 1, 6), group...),
		"attribute":                 with(attribute("a", "b")),
		"empty attribute":           with(""),
		"empty key and value":       with(attribute("", "")),
		"only a key":                with(string(field(nil, 1, "a"))),
		"only a value":              with(string(field(nil, 2, "b"))),
		"unknown for the value":     with("\x0a\x01a\x1a\x01b"),
		"second key for the value":  with("\x0a\x01a\x0a\x01b"),
		"unknown for the key":       with("\x1a\x01a\x12\x01b"),
		"value first":               with(string(field(field(nil, 2, "b"), 1, "a"))),
		"key twice":                 with(string(field(field(nil, 1, "c"), 1, "a")) + string(field(nil, 2, "b"))),
		"value twice":               with(attribute("a", "c") + string(field(nil, 2, "b"))),
		"unknown in the attribute":  with(attribute("a", "b") + string(number(nil, 3, 1))),
		"group in the attribute":    with(attribute("a", "b") + string(group)),
		"key as a number":           with(string(number(nil, 1, 5)) + attribute("a", "b")),
		"value as a number":         with(string(field(nil, 1, "a")) + string(number(nil, 2, 5))),
		"key of 127":                with(attribute(just, "b")),
		"key of 128":                with(attribute(long, "b")),
		"value of 127":              with(attribute("a", just)),
		"value of 128":              with(attribute("a", long)),
		"both long":                 with(attribute(long, long)),
		"length in two bytes":       with("\x0a\x81\x00a\x12\x01b"),
		"value length in two bytes": with("\x0a\x01a\x12\x81\x00b"),
		// Would look short to who takes the first byte of a length for all of it.
		"key that seems to end early": with(attribute(long+"\x12", just[:17])),
		"value that seems to go on":   with("\x0a\x01a\x12\x85\x00hello" + string(field(nil, 3, long[:125]))),
		"tag in two bytes":            with("\x8a\x00\x01a\x12\x01b"),
		"same key twice":              field(with(attribute("a", "first")), 3, attribute("a", "last")),
		"known key twice":             field(with(attribute("source", "first")), 3, attribute("source", "last")),
		"time":                        with(attribute("issued_at_ms", "1758801600000")),
		"smallest time":               with(attribute("issued_at_ms", "1")),
		"no type":                     field(nil, 2, "payload"),
		"type zero":                   field(number(nil, 1, 0), 2, "payload"),
		"nothing":                     nil,
		"time not a number":           with(attribute("issued_at_ms", "soon")),
		"time empty":                  with(attribute("issued_at_ms", "")),
		"time zero":                   with(attribute("issued_at_ms", "0")),
		"time negative":               with(attribute("issued_at_ms", "-5")),
		"time too large":              with(attribute("issued_at_ms", "9223372036854775808")),
		"first key not UTF-8":         with("\x0a\x01\xff" + attribute("a", "b")),
		"first value not UTF-8":       with("\x12\x01\xff" + attribute("a", "b")),
		"key not UTF-8":               with(attribute("\xff", "b")),
		"value not UTF-8":             with(attribute("a", "\xff")),
		"long value not UTF-8":        with(attribute("a", long+"\xff")),
		"field zero":                  append(number(nil, 1, 6), 0x02, 0x00),
		"largest field":               number(number(nil, 1, 6), protowire.MaxValidNumber, 1),
		"field over the limit":        number(number(nil, 1, 6), protowire.MaxValidNumber+1, 1),
		"over the limit in attribute": with(string(number(nil, protowire.MaxValidNumber+1, 1))),
		"field zero in the attribute": with("\x02\x00"),
		"group without end":           append(number(nil, 1, 6), 0x4b),
		"end without group":           append(number(nil, 1, 6), 0x4c),
		"wire type 7":                 append(number(nil, 1, 6), 0x4f),
		"varint of eleven bytes":      append([]byte{0x08}, strings.Repeat("\xff", 10)+"\x01"...),
		"key longer than the entry":   with("\x0a\x05a\x12\x01b"),
		"value longer than the entry": with("\x0a\x01a\x12\x05b"),
		"entry cut after the key":     with("\x0a\x01a\x12"),
		"entry cut in the key":        with("\x0a\x01"),
		"bytes after the value":       with(attribute("a", "b") + "\x00"),
	}
}

// The envelope coded by hand accepts what the generated code accepts, and reads
// the same from it; beyond that it demands a type, and a time to be one.
func TestOddEnvelopes(t *testing.T) {
	for name, raw := range oddEnvelopes() {
		t.Run(name, func(t *testing.T) {
			compareEnvelope(t, raw)
			for i := range raw {
				compareEnvelope(t, raw[:i])
			}
		})
	}
}

// What the generated code lets pass, and nobody could judge.
func TestEnvelopeDemands(t *testing.T) {
	keys := newKeyring(t, goldenSecret)
	codec := newCodec(t, leyline.CodecConfig{Keys: keys})
	odd := oddEnvelopes()
	for _, name := range []string{
		"nothing", "no type", "type zero", "time not a number", "time empty", "time zero", "time negative", "time too large",
	} {
		raw, ok := odd[name]
		signature := keys.Sign(raw)
		if _, err := codec.Open(raw, signature[:]); !ok || !errors.Is(err, leyline.Malformed) {
			t.Errorf("%s: %v, want %v", name, err, leyline.Malformed)
		}
	}
}

// compareEnvelope opens raw with this package and with the generated code.
func compareEnvelope(t *testing.T, raw []byte) {
	t.Helper()
	keys := newKeyring(t, goldenSecret)
	codec := newCodec(t, leyline.CodecConfig{Keys: keys})
	signature := keys.Sign(raw)
	env, err := codec.Open(raw, signature[:])
	if err != nil && !errors.Is(err, leyline.Malformed) {
		t.Fatalf("%x: error %v, want %v", raw, err, leyline.Malformed)
	}
	var whole pb.BusEnvelope
	if wholeErr := proto.Unmarshal(raw, &whole); wholeErr != nil {
		if err == nil {
			t.Fatalf("%x: generated code says %v, we accept it", raw, wholeErr)
		}
		return
	}
	if err != nil {
		if whole.GetMessageType() != 0 && !strings.Contains(err.Error(), leyline.AttrIssuedAt) {
			t.Fatalf("%x: generated code accepts it, we say %v", raw, err)
		}
		return
	}
	if whole.GetMessageType() == 0 {
		t.Fatalf("%x: opened without a type", raw)
	}
	if env.Type != whole.GetMessageType() || string(env.Payload) != string(whole.GetPayload()) {
		t.Errorf("%x: type %v, payload %q; generated code says %v, %q", raw, env.Type, env.Payload, whole.GetMessageType(), whole.GetPayload())
	}
	if !maps.Equal(env.Attributes(), whole.GetAttributes()) {
		t.Errorf("%x: attributes %v, generated code says %v", raw, env.Attributes(), whole.GetAttributes())
	}
	for key, method := range map[string]func() string{
		leyline.AttrMessageID: env.MessageID, leyline.AttrAudience: env.Audience,
		leyline.AttrSource: env.Source, leyline.AttrTraceParent: env.TraceParent,
		leyline.AttrRequestSource: env.RequestSource,
	} {
		value, ok := env.Attribute(key)
		if want, wantOK := whole.GetAttributes()[key]; value != want || ok != wantOK || method() != want {
			t.Errorf("%x: %s is %q, %v, %q; generated code says %q, %v", raw, key, value, ok, method(), want, wantOK)
		}
	}
}
