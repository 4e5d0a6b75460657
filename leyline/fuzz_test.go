package leyline_test

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

// FuzzEntry opens entries as anybody can write them: what passes must be what
// the key signed, byte for byte.
func FuzzEntry(f *testing.F) {
	vectors := readVectors[entryVectors](f, "entries.json")
	for _, c := range vectors.Cases {
		for _, e := range c.Entries {
			if e.Payload != nil {
				f.Add([]byte(*e.Payload), []byte(e.Signature))
			}
		}
	}
	keys := newKeyring(f, goldenSecret)
	codec := newCodec(f, leyline.CodecConfig{Keys: keys, MaxBytes: 1 << 12})
	f.Fuzz(func(t *testing.T, payload, signature []byte) {
		_, err := codec.Open(payload, signature)
		want := keys.Sign(payload)
		switch {
		case len(payload) > 1<<12:
			if err != leyline.TooLarge {
				t.Errorf("%d bytes: %v", len(payload), err)
			}
		case len(signature) == 0:
			if err != leyline.Unsigned {
				t.Errorf("no signature: %v", err)
			}
		case string(signature) != want.String():
			if err != leyline.BadSignature {
				t.Errorf("signature %q: %v", signature, err)
			}
		case err != nil && !errors.Is(err, leyline.Malformed):
			t.Errorf("signed: %v", err)
		}
	})
}

// FuzzEnvelope compares the envelope coded by hand with the generated code.
func FuzzEnvelope(f *testing.F) {
	for _, v := range readVectors[messageVectors](f, "messages.json").Messages {
		f.Add([]byte(v.Envelope))
	}
	for _, raw := range oddEnvelopes() {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) <= leyline.DefaultMaxBytes {
			compareEnvelope(t, raw)
		}
	})
}

// FuzzMessage decodes bytes as a message of any type, judges it, and seals it
// again.
func FuzzMessage(f *testing.F) {
	for _, v := range readVectors[messageVectors](f, "messages.json").Messages {
		f.Add(v.TypeNumber, []byte(v.Payload))
	}
	keys := newKeyring(f, goldenSecret)
	codec := newCodec(f, leyline.CodecConfig{Keys: keys, MaxBytes: 1 << 24})
	guard := newGuard(f, leyline.GuardConfig{Mode: leyline.Strict})
	f.Fuzz(func(t *testing.T, typ int32, payload []byte) {
		env := leyline.Envelope{Type: pb.BusMessageType(typ), Payload: payload}
		msg, err := leyline.Decode(env)
		if err != nil {
			if reason := leyline.ReasonOf(err); reason != leyline.Malformed && reason != leyline.UnknownType {
				t.Errorf("Decode: %v", err)
			}
			return
		}
		if got, ok := leyline.TypeOf(msg); !ok || got != env.Type {
			t.Errorf("TypeOf(%T) = %v, decoded from %v", msg, got, env.Type)
		}
		raw, signature, err := codec.Seal(nil, msg, fullHeader)
		if err != nil {
			t.Fatalf("Seal of what was decoded: %v", err)
		}
		if env, err = codec.Open(raw, signature[:]); err != nil {
			t.Fatalf("Open of what was sealed: %v", err)
		}
		again, err := leyline.Decode(env)
		if err != nil || !proto.Equal(msg, again) {
			t.Fatalf("sealed and opened (%v):\n%v\nwas\n%v", err, again, msg)
		}
		id, err := leyline.IdentityOf(env, msg)
		if err != nil && !errors.Is(err, leyline.Malformed) {
			t.Errorf("IdentityOf: %v", err)
		}
		if err := guard.Admissible(env, id, fullHeader.Audience, epoch.UnixMilli()); err != nil && leyline.ReasonOf(err) == "" {
			t.Errorf("Admissible: %v", err)
		}
		if cmd, ok := msg.(*pb.AdaptationCommand); ok {
			checkCommandSignature(t, keys, cmd)
		}
	})
}

// checkCommandSignature signs cmd, sends it, and verifies it.
func checkCommandSignature(t *testing.T, keys *leyline.Keyring, cmd *pb.AdaptationCommand) {
	t.Helper()
	if err := leyline.SignCommand(keys, cmd); err != nil {
		t.Fatalf("SignCommand: %v", err)
	}
	wire, err := proto.Marshal(cmd)
	if err != nil {
		t.Fatal(err)
	}
	received := new(pb.AdaptationCommand)
	if err := proto.Unmarshal(wire, received); err != nil {
		t.Fatal(err)
	}
	if err := leyline.VerifyCommand(keys, received); err != nil {
		t.Errorf("VerifyCommand: %v for %v", err, received)
	}
	received.CommandId += "x"
	if err := leyline.VerifyCommand(keys, received); !errors.Is(err, leyline.BadSignature) {
		t.Errorf("another command with the same signature: %v", err)
	}
}

// FuzzSignature: of all texts only the signature itself is one, whatever the
// number of keys.
func FuzzSignature(f *testing.F) {
	keys := newKeyring(f, "signing", "accepted", "too")
	each := []*leyline.Keyring{newKeyring(f, "signing"), newKeyring(f, "accepted"), newKeyring(f, "too")}
	for _, secret := range []string{"signing", "accepted", "other"} {
		f.Add([]byte("message"), newKeyring(f, secret).Sign([]byte("message")).String())
	}
	f.Add([]byte(nil), "")
	f.Add([]byte("message"), strings.Repeat("=", leyline.SignatureLen))
	f.Fuzz(func(t *testing.T, message []byte, signature string) {
		valid := false
		for _, one := range each {
			valid = valid || one.Sign(message).String() == signature
		}
		err := keys.Verify(message, []byte(signature))
		switch {
		case valid && err != nil:
			t.Errorf("valid signature: %v", err)
		case signature == "" && err != leyline.Unsigned:
			t.Errorf("no signature: %v", err)
		case !valid && signature != "" && err != leyline.BadSignature:
			t.Errorf("signature %q: %v", signature, err)
		}
	})
}

// FuzzAttributes: a header either comes out as it went in, or is refused when
// it is sealed; nothing is sealed that cannot be opened.
func FuzzAttributes(f *testing.F) {
	f.Add("m", "oona.normal", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "attempt", "2", int64(1758801600000))
	f.Add("", "", "", "", "", int64(0))
	f.Add("\xff", "a", "b", leyline.AttrAudience, "forged", int64(-1))
	codec := newCodec(f, leyline.CodecConfig{})
	f.Fuzz(func(t *testing.T, id, audience, trace, key, value string, ms int64) {
		h := leyline.Header{
			IssuedAt: epoch.AddDate(0, 0, int(ms%20_000)), MessageID: id, Audience: audience,
			TraceParent: trace, Extra: map[string]string{key: value},
		}
		raw, signature, err := codec.Seal(nil, new(pb.BSDSFailed), h)
		if err != nil {
			valid := h.IssuedAt.UnixMilli() > 0
			for _, text := range []string{id, audience, trace, key, value} {
				valid = valid && utf8.ValidString(text)
			}
			if valid && !errors.Is(err, leyline.TooLarge) {
				t.Errorf("Seal: %v", err)
			}
			return
		}
		env, err := codec.Open(raw, signature[:])
		if err != nil {
			t.Fatalf("Open of what was sealed: %v", err)
		}
		if env.IssuedAtMs() != h.IssuedAt.UnixMilli() || id != "" && env.MessageID() != id ||
			env.Audience() != audience || env.TraceParent() != trace {
			t.Errorf("attributes %v of header %+v", env.Attributes(), h)
		}
		switch key {
		case leyline.AttrIssuedAt, leyline.AttrMessageID, leyline.AttrAudience, leyline.AttrSource, leyline.AttrTraceParent, leyline.AttrRequestSource:
		default:
			if got, ok := env.Attribute(key); !ok || got != value {
				t.Errorf("Attribute(%q) = %q, %v, want %q", key, got, ok, value)
			}
		}
	})
}

// FuzzSecrets takes lists of secrets apart: no character of a secret is lost,
// none is added, and none is in an error.
func FuzzSecrets(f *testing.F) {
	for _, list := range []string{"", "a", "a,b", "a\nb\n", ",,\n", " a ,\tb", "a, ,b", "\xff,\x00"} {
		f.Add(list)
	}
	f.Fuzz(func(t *testing.T, list string) {
		got, err := leyline.ParseSecrets(list)
		if err != nil {
			if got != nil {
				t.Error("secrets beside an error")
			}
			if text, _, ok := strings.Cut(strings.TrimPrefix(err.Error(), "leyline: secret "), " "); !ok || strings.Trim(text, "0123456789") != "" {
				t.Errorf("error %v", err)
			}
			return
		}
		n := 0
		for line := range strings.SplitSeq(list, "\n") {
			for item := range strings.SplitSeq(line, ",") {
				if item == "" {
					continue
				}
				if n >= len(got) || !got[n].Equal(leyline.NewSecret(item)) {
					t.Fatalf("secret %d of %q is not %q", n, list, item)
				}
				n++
			}
		}
		if n != len(got) {
			t.Errorf("%d secrets in %q, want %d", len(got), list, n)
		}
	})
}
