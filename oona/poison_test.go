package oona_test

import (
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

// poisoned is an entry that must be neither handled nor in anybody's way.
type poisoned struct {
	reason leyline.Reason
	fields map[string]any
}

func add(t testing.TB, rdb redis.UniversalClient, stream string, fields map[string]any) string {
	t.Helper()
	id, err := rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: stream, Values: fields}).Result()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// sealed returns the fields of an entry with msg; the header's audience is what
// a Python producer sends: none.
func sealed(t testing.TB, codec *leyline.Codec, msg proto.Message) map[string]any {
	t.Helper()
	payload, signature, err := codec.Seal(nil, msg, leyline.Header{})
	if err != nil {
		t.Fatal(err)
	}
	return map[string]any{"payload": string(payload), "signature": signature.String()}
}

// signed returns the fields of an entry whose envelope is raw.
func signed(t testing.TB, raw string) map[string]any {
	t.Helper()
	keys, err := leyline.NewKeyring(leyline.NewSecret(secret))
	if err != nil {
		t.Fatal(err)
	}
	return map[string]any{"payload": raw, "signature": keys.Sign([]byte(raw)).String()}
}

// poisonedEntries returns one entry of each kind that contract sections 1 and 8
// name.
func poisonedEntries(t testing.TB) []poisoned {
	t.Helper()
	codec := newCodec(t)
	with := func(fields map[string]any, name string, value any) map[string]any {
		if value == nil {
			delete(fields, name)
		} else {
			fields[name] = value
		}
		return fields
	}
	good := func() map[string]any { return sealed(t, codec, request("poison")) }
	aged := func(age time.Duration) map[string]any {
		r := request("poison")
		r.IssuedAt = timestamppb.New(time.Now().Add(-age))
		return sealed(t, codec, r)
	}
	undated := request("poison")
	undated.IssuedAt = nil
	elsewhere, sig, err := codec.Seal(nil, request("poison"), leyline.Header{Audience: "oona.normal"})
	if err != nil {
		t.Fatal(err)
	}
	return []poisoned{
		{leyline.Unsigned, with(good(), "signature", nil)},
		{leyline.Unsigned, with(good(), "signature", "")},
		{leyline.BadSignature, with(good(), "signature", "\xff\xfe")},
		{leyline.BadSignature, with(good(), "signature", strings.Repeat("A", 43)+"=")},
		{leyline.BadSignature, with(good(), "payload", "\x08\x06")},
		{leyline.TooLarge, with(good(), "payload", strings.Repeat("x", leyline.DefaultMaxBytes+1))},
		{leyline.NotAMessage, map[string]any{"bootstrap": "1"}},
		{leyline.NotAMessage, with(good(), "payload", nil)},
		{leyline.Stale, aged(61 * time.Second)},
		{leyline.Stale, sealed(t, codec, undated)},
		{leyline.Future, aged(-time.Hour)},
		{leyline.WrongAudience, map[string]any{"payload": string(elsewhere), "signature": sig.String()}},
		{leyline.Malformed, signed(t, "")},
		{leyline.Malformed, signed(t, "\x08\x06\x12\x7f")},
		{leyline.Malformed, signed(t, "\x08\x06\x12\x02\x0a\x7f")},
		{leyline.Malformed, sealed(t, codec, &pb.KernelPrefetchRequest{IssuedAt: timestamppb.Now()})},
		{leyline.UnknownType, signed(t, "\x08\x63\x12\x03abc")},
		{leyline.UnexpectedType, sealed(t, codec, &pb.KernelArtifactReady{RequestId: "poison"})},
	}
}
