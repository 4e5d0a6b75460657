package leyline_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

// busTypes returns every message type of the schema but the unspecified one.
func busTypes() []pb.BusMessageType {
	values := pb.BusMessageType(0).Descriptor().Values()
	var types []pb.BusMessageType
	for i := range values.Len() {
		if n := values.Get(i).Number(); n != 0 {
			types = append(types, pb.BusMessageType(n))
		}
	}
	return types
}

func TestRegistry(t *testing.T) {
	for _, typ := range busTypes() {
		msg, ok := leyline.New(typ)
		if !ok {
			t.Errorf("New(%v): no message", typ)
			continue
		}
		if got, ok := leyline.TypeOf(msg); !ok || got != typ {
			t.Errorf("TypeOf(New(%v)) = %v, %v", typ, got, ok)
		}
	}
	for _, typ := range []pb.BusMessageType{0, -1, 11, 99} {
		if msg, ok := leyline.New(typ); ok {
			t.Errorf("New(%d) = %T", typ, msg)
		}
	}
	for _, msg := range []proto.Message{nil, new(pb.BusEnvelope), new(pb.SeedState), new(pb.EventEnvelope)} {
		if typ, ok := leyline.TypeOf(msg); ok {
			t.Errorf("TypeOf(%T) = %v", msg, typ)
		}
	}
}

// streamTypes is what belongs on a stream (contract section 1).
var streamTypes = map[string][]pb.BusMessageType{
	"oona.kernels.requests": {pb.BusMessageType_BUS_MESSAGE_TYPE_KERNEL_PREFETCH_REQUEST},
	"oona.kernels.ready": {
		pb.BusMessageType_BUS_MESSAGE_TYPE_KERNEL_PREFETCH_READY,
		pb.BusMessageType_BUS_MESSAGE_TYPE_KERNEL_CATALOG_UPDATE,
	},
	"oona.normal": {
		pb.BusMessageType_BUS_MESSAGE_TYPE_SYSTEM_STATE,
		pb.BusMessageType_BUS_MESSAGE_TYPE_ADAPTATION_COMMAND,
		pb.BusMessageType_BUS_MESSAGE_TYPE_FIELD_REPORT,
	},
}

func newRequest() *pb.KernelPrefetchRequest {
	return &pb.KernelPrefetchRequest{
		RequestId: "0199a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b", BlueprintId: "BP001", TrainingRunId: "run-1",
		IssuedAt: timestamppb.New(epoch),
	}
}

var fullHeader = leyline.Header{
	IssuedAt:    epoch,
	MessageID:   "0199a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b",
	Audience:    "oona.kernels.requests",
	TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",

	RequestSource: "trainer/host-2",
}

func TestSealOpen(t *testing.T) {
	codec := newCodec(t, leyline.CodecConfig{Source: "trainer/host-1"})
	h := fullHeader
	h.Extra = map[string]string{"attempt": "2", "origin": "ünï", "empty": "", leyline.AttrAudience: "forged"}
	prefix := []byte("before")
	raw, signature, err := codec.Seal(prefix, newRequest(), h)
	if err != nil {
		t.Fatal(err)
	}
	if string(raw[:len(prefix)]) != "before" {
		t.Errorf("Seal changed what stood before: %q", raw)
	}
	raw = raw[len(prefix):]
	env, err := codec.Open(raw, []byte(signature.String()))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"issued_at_ms": "1758801600000", "message_id": h.MessageID, "audience": "oona.kernels.requests",
		"source": "trainer/host-1", "traceparent": h.TraceParent, "request_source": "trainer/host-2", "attempt": "2", "origin": "ünï", "empty": "",
	}
	if diff := cmp.Diff(want, env.Attributes()); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
	got := map[string]string{
		"issued_at_ms": strconv.FormatInt(env.IssuedAtMs(), 10), "message_id": env.MessageID(),
		"audience": env.Audience(), "source": env.Source(), "traceparent": env.TraceParent(),
		"request_source": env.RequestSource(),
	}
	for key := range want {
		value, ok := env.Attribute(key)
		if !ok || value != want[key] {
			t.Errorf("Attribute(%q) = %q, %v", key, value, ok)
		}
		if _, listed := got[key]; !listed {
			got[key] = value
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("methods (-want +got):\n%s", diff)
	}
	if value, ok := env.Attribute("missing"); ok {
		t.Errorf("Attribute of a missing key = %q", value)
	}
	// The generated code reads what was coded by hand.
	var whole pb.BusEnvelope
	if err := proto.Unmarshal(raw, &whole); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, whole.GetAttributes()); diff != "" {
		t.Errorf("attributes by generated code (-want +got):\n%s", diff)
	}
	msg, err := leyline.Decode(env)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(newRequest(), msg, protocmp.Transform()); diff != "" {
		t.Errorf("message (-want +got):\n%s", diff)
	}
}

func TestSealDefaults(t *testing.T) {
	codec := newCodec(t, leyline.CodecConfig{})
	before := time.Now().UnixMilli()
	raw, signature, err := codec.Seal(nil, new(pb.FieldReport), leyline.Header{})
	if err != nil {
		t.Fatal(err)
	}
	env, err := codec.Open(raw, signature[:])
	if err != nil {
		t.Fatal(err)
	}
	if ms := env.IssuedAtMs(); ms < before || ms > time.Now().UnixMilli() {
		t.Errorf("issued at %d", ms)
	}
	keys := slices.Sorted(maps.Keys(env.Attributes()))
	if diff := cmp.Diff([]string{leyline.AttrIssuedAt, leyline.AttrMessageID}, keys); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
	if env.Payload == nil || len(env.Payload) != 0 {
		t.Errorf("payload of an empty message: %v", env.Payload)
	}
}

func TestSealRefuses(t *testing.T) {
	codec := newCodec(t, leyline.CodecConfig{MaxBytes: 200})
	dst := []byte("kept")
	for name, test := range map[string]struct {
		msg  proto.Message
		h    leyline.Header
		want error
	}{
		"no bus message":         {new(pb.SeedState), leyline.Header{}, leyline.ErrNotABusMessage},
		"nil":                    {nil, leyline.Header{}, leyline.ErrNotABusMessage},
		"too large":              {&pb.BSDSFailed{Reason: strings.Repeat("x", 200)}, leyline.Header{}, leyline.TooLarge},
		"too large by header":    {&pb.BSDSFailed{}, leyline.Header{Extra: map[string]string{"x": strings.Repeat("x", 200)}}, leyline.TooLarge},
		"field not UTF-8":        {&pb.BSDSFailed{Reason: "\xff"}, leyline.Header{}, nil},
		"extra key not UTF-8":    {&pb.BSDSFailed{}, leyline.Header{Extra: map[string]string{"\xff": ""}}, nil},
		"extra value not UTF-8":  {&pb.BSDSFailed{}, leyline.Header{Extra: map[string]string{"x": "\xff"}}, nil},
		"audience not UTF-8":     {&pb.BSDSFailed{}, leyline.Header{Audience: "\xff"}, nil},
		"message id not UTF-8":   {&pb.BSDSFailed{}, leyline.Header{MessageID: "\xff"}, nil},
		"issued before 1970":     {&pb.BSDSFailed{}, leyline.Header{IssuedAt: time.Unix(0, 0)}, nil},
		"trace parent not UTF-8": {&pb.BSDSFailed{}, leyline.Header{TraceParent: "\xff"}, nil},
	} {
		got, signature, err := codec.Seal(dst, test.msg, test.h)
		if err == nil || test.want != nil && !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
		if string(got) != "kept" || signature != (leyline.Signature{}) {
			t.Errorf("%s: dst %q, signature %q", name, got, signature)
		}
	}
}

func TestSizeLimit(t *testing.T) {
	wide := newCodec(t, leyline.CodecConfig{})
	raw, signature, err := wide.Seal(nil, &pb.BSDSFailed{Reason: strings.Repeat("x", 1000)}, fullHeader)
	if err != nil {
		t.Fatal(err)
	}
	for limit, want := range map[int]error{len(raw): nil, len(raw) - 1: leyline.TooLarge} {
		narrow := newCodec(t, leyline.CodecConfig{MaxBytes: limit})
		if _, err := narrow.Open(raw, signature[:]); err != want {
			t.Errorf("Open with a limit of %d for %d bytes: %v, want %v", limit, len(raw), err, want)
		}
		if _, _, err := narrow.Seal(nil, &pb.BSDSFailed{Reason: strings.Repeat("x", 1000)}, fullHeader); !errors.Is(err, want) {
			t.Errorf("Seal with a limit of %d for %d bytes: %v, want %v", limit, len(raw), err, want)
		}
	}
	// By default, 1 MiB: what is larger is not even hashed.
	huge := make([]byte, leyline.DefaultMaxBytes+1)
	if _, err := wide.Open(huge, signature[:]); err != leyline.TooLarge {
		t.Errorf("Open of 1 MiB and a byte: %v", err)
	}
	if _, err := wide.Open(huge[1:], signature[:]); err != leyline.BadSignature {
		t.Errorf("Open of 1 MiB: %v", err)
	}
}

// Every spelling of a signature but the one is refused, and every change to a
// byte of the envelope.
func TestOpenForgeries(t *testing.T) {
	codec := newCodec(t, leyline.CodecConfig{})
	// One whose signature URL-safe base64 would spell differently.
	var raw []byte
	var signature leyline.Signature
	for i := 0; !strings.ContainsAny(signature.String(), "+/"); i++ {
		h := fullHeader
		h.Extra = map[string]string{"i": strconv.Itoa(i)}
		var err error
		if raw, signature, err = codec.Seal(raw[:0], newRequest(), h); err != nil {
			t.Fatal(err)
		}
	}
	mac, err := base64.StdEncoding.DecodeString(signature.String())
	if err != nil || len(mac) != 32 {
		t.Fatalf("signature %s: %v", signature, err)
	}
	text := signature.String()
	for name, test := range map[string]struct {
		signature string
		want      error
	}{
		"missing":            {"", leyline.Unsigned},
		"url-safe":           {base64.URLEncoding.EncodeToString(mac), leyline.BadSignature},
		"unpadded":           {text[:43], leyline.BadSignature},
		"newline":            {text + "\n", leyline.BadSignature},
		"newline inside":     {text[:20] + "\n" + text[20:43], leyline.BadSignature},
		"hex":                {fmt.Sprintf("%x", mac), leyline.BadSignature},
		"raw":                {string(mac), leyline.BadSignature},
		"other last bits":    {text[:42] + string(text[42]+1) + "=", leyline.BadSignature},
		"lower case":         {strings.ToLower(text), leyline.BadSignature},
		"not ASCII":          {strings.Repeat("\xff", 44), leyline.BadSignature},
		"zeros":              {strings.Repeat("\x00", 44), leyline.BadSignature},
		"of the empty input": {newKeyring(t, goldenSecret).Sign(nil).String(), leyline.BadSignature},
		"of another secret":  {newKeyring(t, "other").Sign(raw).String(), leyline.BadSignature},
	} {
		if _, err := codec.Open(raw, []byte(test.signature)); err != test.want {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
	for i := range raw {
		for bit := range 8 {
			raw[i] ^= 1 << bit
			if _, err := codec.Open(raw, signature[:]); err != leyline.BadSignature {
				t.Fatalf("bit %d of byte %d changed: %v", bit, i, err)
			}
			raw[i] ^= 1 << bit
		}
	}
	for i := range raw {
		if _, err := codec.Open(raw[:i], signature[:]); err != leyline.BadSignature {
			t.Fatalf("cut to %d bytes: %v", i, err)
		}
	}
}

func TestNewCodec(t *testing.T) {
	keys := newKeyring(t, "x")
	for name, cfg := range map[string]leyline.CodecConfig{
		"no keys":          {},
		"zero keyring":     {Keys: new(leyline.Keyring)},
		"negative limit":   {Keys: keys, MaxBytes: -1},
		"source not UTF-8": {Keys: keys, Source: "\xff"},
	} {
		if _, err := leyline.NewCodec(cfg); err == nil || errors.Is(err, leyline.ErrNoSecret) != (cfg.Keys != keys) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCodecAllocates(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector changes allocations")
	}
	codec := newCodec(t, leyline.CodecConfig{Source: "trainer/host-1"})
	request := newRequest()
	raw, signature, err := codec.Seal(nil, request, fullHeader)
	if err != nil {
		t.Fatal(err)
	}
	forged := signature
	forged[0] ^= 1
	buf := make([]byte, 0, 1024)
	for _, test := range []struct {
		name string
		want float64
		run  func() error
	}{
		{"Open", 0, func() error { _, err := codec.Open(raw, signature[:]); return err }},
		{"Open of a forgery", 0, func() error {
			if _, err := codec.Open(raw, forged[:]); err != leyline.BadSignature {
				return errors.New("passed")
			}
			return nil
		}},
		{"Seal into a buffer", 0, func() error { _, _, err := codec.Seal(buf, request, fullHeader); return err }},
		{"Seal into a buffer, new id", 0, func() error { _, _, err := codec.Seal(buf, request, leyline.Header{}); return err }},
	} {
		if got := testing.AllocsPerRun(1000, func() {
			if err := test.run(); err != nil {
				t.Fatal(test.name, err)
			}
		}); got != test.want {
			t.Errorf("%s allocates %v times, want %v", test.name, got, test.want)
		}
	}
}
