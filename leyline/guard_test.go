package leyline_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

func newGuard(t testing.TB, cfg leyline.GuardConfig) *leyline.Guard {
	t.Helper()
	guard, err := leyline.NewGuard(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return guard
}

func TestNewGuard(t *testing.T) {
	g := newGuard(t, leyline.GuardConfig{})
	if g.Window() != time.Minute || g.ClockSkew() != 5*time.Second || g.Retention() != 65*time.Second {
		t.Errorf("defaults: window %v, skew %v, retention %v", g.Window(), g.ClockSkew(), g.Retention())
	}
	if g := newGuard(t, leyline.GuardConfig{ClockSkew: -1}); g.ClockSkew() != 0 {
		t.Errorf("negative skew gives %v", g.ClockSkew())
	}
	for name, cfg := range map[string]leyline.GuardConfig{
		"negative window": {Window: -1},
		"overflow":        {Window: math.MaxInt64},
	} {
		if _, err := leyline.NewGuard(cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestCheckFresh(t *testing.T) {
	const now = 1758801600000
	normal := newGuard(t, leyline.GuardConfig{})
	exact := newGuard(t, leyline.GuardConfig{Window: time.Second, ClockSkew: -1})
	for _, test := range []struct {
		name            string
		guard           *leyline.Guard
		issued, arrival int64
		want            error
	}{
		{"now", normal, now, now, nil},
		{"exactly the window", normal, now - 60_000, now, nil},
		{"past the window", normal, now - 60_001, now, leyline.Stale},
		{"exactly the skew", normal, now + 5_000, now, nil},
		{"past the skew", normal, now + 5_001, now, leyline.Future},
		{"no time", normal, 0, now, leyline.Stale},
		{"no time, early clock", normal, 0, 1, leyline.Stale},
		{"negative", normal, -1, now, leyline.Stale},
		{"smallest", normal, math.MinInt64, now, leyline.Stale},
		{"largest", normal, math.MaxInt64, now, leyline.Future},
		{"largest, negative arrival", normal, math.MaxInt64, -1, leyline.Future},
		{"largest, smallest arrival", normal, math.MaxInt64, math.MinInt64, leyline.Future},
		{"smallest, largest arrival", normal, math.MinInt64, math.MaxInt64, leyline.Stale},
		{"smallest arrival", normal, now, math.MinInt64, leyline.Future},
		{"largest arrival", normal, now, math.MaxInt64, leyline.Stale},
		{"no skew: now", exact, now, now, nil},
		{"no skew: ahead", exact, now + 1, now, leyline.Future},
		{"no skew: window", exact, now - 1000, now, nil},
		{"no skew: past the window", exact, now - 1001, now, leyline.Stale},
	} {
		if got := test.guard.CheckFresh(test.issued, test.arrival); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

// Whatever a signed timestamp says, it is fresh only near its arrival.
func TestIdentityOfOddTimes(t *testing.T) {
	guard := newGuard(t, leyline.GuardConfig{})
	now := epoch.UnixMilli()
	for _, test := range []struct {
		at   *timestamppb.Timestamp
		want error
	}{
		{nil, leyline.Stale},
		{&timestamppb.Timestamp{}, leyline.Stale},
		{&timestamppb.Timestamp{Seconds: math.MaxInt64, Nanos: math.MaxInt32}, leyline.Future},
		{&timestamppb.Timestamp{Seconds: math.MinInt64, Nanos: math.MinInt32}, leyline.Stale},
		// Multiplied by 1000, these would wrap around to about now.
		{&timestamppb.Timestamp{Seconds: epoch.Unix() + 1<<61}, leyline.Future},
		{&timestamppb.Timestamp{Seconds: epoch.Unix() - 1<<61}, leyline.Stale},
		{&timestamppb.Timestamp{Seconds: -epoch.Unix()}, leyline.Stale},
		{&timestamppb.Timestamp{Seconds: epoch.Unix(), Nanos: 999_999_999}, nil},
	} {
		msg := &pb.KernelPrefetchRequest{RequestId: "r", IssuedAt: test.at}
		id, err := leyline.IdentityOf(leyline.Envelope{Type: request}, msg)
		if err != nil || !id.Dated {
			t.Fatal(id, err)
		}
		if got := guard.Admissible(leyline.Envelope{}, id, "s", now); got != test.want {
			t.Errorf("issued at %v: %v, want %v", test.at, got, test.want)
		}
	}
}

func TestIdentityOf(t *testing.T) {
	codec := newCodec(t, leyline.CodecConfig{})
	at := timestamppb.New(epoch.Add(7 * time.Millisecond))
	for _, test := range []struct {
		msg  proto.Message
		want leyline.Identity
		err  error
	}{
		{&pb.KernelPrefetchRequest{RequestId: "r", IssuedAt: at}, leyline.Identity{Nonce: "r", IssuedAtMs: epoch.UnixMilli() + 7, Dated: true}, nil},
		{&pb.KernelPrefetchRequest{IssuedAt: at}, leyline.Identity{}, leyline.Malformed},
		{&pb.KernelPrefetchRequest{RequestId: "r"}, leyline.Identity{Nonce: "r", Dated: true}, nil},
		{&pb.AdaptationCommand{CommandId: "c", IssuedAt: at}, leyline.Identity{Nonce: "c", IssuedAtMs: epoch.UnixMilli() + 7, Dated: true}, nil},
		{&pb.AdaptationCommand{IssuedAt: at}, leyline.Identity{}, leyline.Malformed},
		{&pb.KernelArtifactReady{RequestId: "r"}, leyline.Identity{Nonce: "r", IssuedAtMs: epoch.UnixMilli()}, nil},
		{&pb.KernelArtifactReady{}, leyline.Identity{}, leyline.Malformed},
		{&pb.KernelArtifactError{RequestId: "r"}, leyline.Identity{Nonce: "r", IssuedAtMs: epoch.UnixMilli()}, nil},
		{&pb.KernelArtifactError{}, leyline.Identity{}, leyline.Malformed},
		{&pb.FieldReport{IssuedAt: at}, leyline.Identity{Nonce: fullHeader.MessageID, IssuedAtMs: epoch.UnixMilli()}, nil},
		{&pb.KernelCatalogUpdate{}, leyline.Identity{Nonce: fullHeader.MessageID, IssuedAtMs: epoch.UnixMilli()}, nil},
	} {
		raw, signature, err := codec.Seal(nil, test.msg, fullHeader)
		if err != nil {
			t.Fatal(err)
		}
		env, err := codec.Open(raw, signature[:])
		if err != nil {
			t.Fatal(err)
		}
		got, err := leyline.IdentityOf(env, test.msg)
		if !errors.Is(err, test.err) || err == nil && got != test.want {
			t.Errorf("%T: %+v, %v; want %+v, %v", test.msg, got, err, test.want, test.err)
		}
	}
}

func TestAdmissible(t *testing.T) {
	codec := newCodec(t, leyline.CodecConfig{})
	foreign := func(attributes map[string]string) leyline.Envelope { // as Python producers seal
		raw, err := proto.Marshal(&pb.BusEnvelope{MessageType: request, Attributes: attributes})
		if err != nil {
			t.Fatal(err)
		}
		signature := newKeyring(t, goldenSecret).Sign(raw)
		env, err := codec.Open(raw, signature[:])
		if err != nil {
			t.Fatal(err)
		}
		return env
	}
	ms := func(age time.Duration) string { return strconv.FormatInt(epoch.Add(-age).UnixMilli(), 10) }
	dated := leyline.Identity{Nonce: "n", IssuedAtMs: epoch.UnixMilli(), Dated: true}
	undated := leyline.Identity{Nonce: "n"}
	const stream = "oona.normal"
	for _, test := range []struct {
		name           string
		env            leyline.Envelope
		id             leyline.Identity
		compat, strict error
	}{
		{"nothing said", foreign(nil), undated, nil, leyline.WrongAudience},
		{"all said", foreign(map[string]string{"issued_at_ms": ms(0), "message_id": "m", "audience": stream}), undated, nil, nil},
		{"all said, dated", foreign(map[string]string{"issued_at_ms": ms(0), "message_id": "m", "audience": stream}), dated, nil, nil},
		{"other stream", foreign(map[string]string{"issued_at_ms": ms(0), "message_id": "m", "audience": "oona.policy"}), dated, leyline.WrongAudience, leyline.WrongAudience},
		{"no audience", foreign(map[string]string{"issued_at_ms": ms(0), "message_id": "m"}), dated, nil, leyline.WrongAudience},
		{"no message id", foreign(map[string]string{"issued_at_ms": ms(0), "audience": stream}), dated, nil, leyline.Malformed},
		{"no time", foreign(map[string]string{"message_id": "m", "audience": stream}), dated, nil, leyline.Stale},
		{"envelope stale", foreign(map[string]string{"issued_at_ms": ms(61 * time.Second), "message_id": "m", "audience": stream}), dated, leyline.Stale, leyline.Stale},
		{"envelope of the future", foreign(map[string]string{"issued_at_ms": ms(-6 * time.Second), "message_id": "m", "audience": stream}), dated, leyline.Future, leyline.Future},
		{"message stale", foreign(map[string]string{"issued_at_ms": ms(0), "message_id": "m", "audience": stream}), leyline.Identity{Nonce: "n", IssuedAtMs: 1, Dated: true}, leyline.Stale, leyline.Stale},
		{"message undated that must be", foreign(map[string]string{"issued_at_ms": ms(0), "message_id": "m", "audience": stream}), leyline.Identity{Nonce: "n", Dated: true}, leyline.Stale, leyline.Stale},
	} {
		for mode, want := range map[leyline.Mode]error{leyline.Compat: test.compat, leyline.Strict: test.strict} {
			guard := newGuard(t, leyline.GuardConfig{Mode: mode})
			if got := guard.Admissible(test.env, test.id, stream, epoch.UnixMilli()); !errors.Is(got, want) {
				t.Errorf("%s, %v: %v, want %v", test.name, mode, got, want)
			}
		}
	}
}

func TestAdmit(t *testing.T) {
	ctx := t.Context()
	guard := newGuard(t, leyline.GuardConfig{Store: leyline.NewMemoryStore(100)})
	now := time.Now()
	for _, test := range []struct {
		name    string
		claim   leyline.Claim
		verdict leyline.Verdict
		err     error
	}{
		{"no nonce", leyline.Claim{IssuedAt: now}, 0, leyline.Malformed},
		{"no time", leyline.Claim{Nonce: "a"}, 0, leyline.Stale},
		{"stale", leyline.Claim{Nonce: "a", IssuedAt: now.Add(-time.Hour)}, 0, leyline.Stale},
		{"future", leyline.Claim{Nonce: "a", IssuedAt: now.Add(time.Hour)}, 0, leyline.Future},
		{"wraps around", leyline.Claim{Nonce: "a", IssuedAt: time.Unix(now.Unix()+1<<61, 0)}, 0, leyline.Future},
		{"refused ones left nothing", leyline.Claim{Nonce: "a", Holder: "1-0", IssuedAt: now}, leyline.Fresh, nil},
		{"resumed", leyline.Claim{Nonce: "a", Holder: "1-0", IssuedAt: now}, leyline.Resumed, nil},
		{"replayed", leyline.Claim{Nonce: "a", Holder: "2-0", IssuedAt: now}, 0, leyline.Replayed},
		{"backlog", leyline.Claim{Nonce: "b", Holder: "1-0", IssuedAt: epoch, Arrival: epoch.Add(time.Minute)}, leyline.Fresh, nil},
	} {
		if v, err := guard.Admit(ctx, test.claim); v != test.verdict || !errors.Is(err, test.err) {
			t.Errorf("%s: %v, %v; want %v, %v", test.name, v, err, test.verdict, test.err)
		}
	}
	if v, err := newGuard(t, leyline.GuardConfig{}).Admit(ctx, leyline.Claim{Nonce: "a", IssuedAt: now}); v != 0 || !errors.Is(err, leyline.ErrStoreUnavailable) {
		t.Errorf("without a store: %v, %v", v, err)
	}
}

// Without any bus, by the clock: as long as a request could pass as fresh its
// copies are refused as replays, and then as stale.
func TestAdmitOverTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// No room for everything: 14,000 messages come by.
		guard := newGuard(t, leyline.GuardConfig{Store: leyline.NewMemoryStore(13_500)})
		issued := time.Now().Add(3 * time.Second) // by a clock that is ahead
		admit := func() error {
			_, err := guard.Admit(t.Context(), leyline.Claim{Nonce: "a", IssuedAt: issued})
			return err
		}
		if err := admit(); err != nil {
			t.Fatal(err)
		}
		for i := range 700 {
			time.Sleep(100 * time.Millisecond)
			// Other traffic makes the store forget what it may.
			for j := range 20 {
				if _, err := guard.Admit(t.Context(), leyline.Claim{Nonce: fmt.Sprint(i, "/", j), IssuedAt: time.Now()}); err != nil {
					t.Fatal(err)
				}
			}
			want := error(leyline.Replayed)
			if time.Since(issued) > time.Minute {
				want = leyline.Stale
			}
			if err := admit(); err != want {
				t.Fatalf("copy after %v: %v, want %v", time.Since(issued), err, want)
			}
		}
	})
}

// Of 64 goroutines that claim one nonce, exactly one may act, every time.
func TestAdmitRace(t *testing.T) {
	guard := newGuard(t, leyline.GuardConfig{Store: leyline.NewMemoryStore(10_000)})
	now := time.Now()
	for round := range 200 {
		var passed atomic.Int32
		var wg sync.WaitGroup
		start := make(chan struct{})
		for g := range 64 {
			wg.Go(func() {
				<-start
				v, err := guard.Admit(t.Context(), leyline.Claim{Nonce: strconv.Itoa(round), Holder: strconv.Itoa(g), IssuedAt: now})
				switch {
				case v == leyline.Fresh && err == nil:
					passed.Add(1)
				case err != leyline.Replayed:
					t.Errorf("%v, %v", v, err)
				}
			})
		}
		close(start)
		wg.Wait()
		if passed.Load() != 1 {
			t.Fatalf("round %d: %d passed", round, passed.Load())
		}
	}
}

// A replay is refused after 10 million other messages (300,000 unless
// LEYLINE_TEST_FULL is set).
func TestReplayAfterManyMessages(t *testing.T) {
	messages := 300_000
	if raceEnabled {
		messages = 30_000
	}
	if os.Getenv("LEYLINE_TEST_FULL") != "" {
		messages = 10_000_000
	}
	guard := newGuard(t, leyline.GuardConfig{Store: leyline.NewMemoryStore(messages + 1)})
	ctx := context.Background()
	claim := leyline.Claim{Nonce: "the one", Holder: "1-0", IssuedAt: epoch, Arrival: epoch}
	if _, err := guard.Admit(ctx, claim); err != nil {
		t.Fatal(err)
	}
	var buf []byte
	for i := range messages {
		// All within the minute in which a copy would be fresh.
		at := epoch.Add(time.Duration(i) * time.Minute / time.Duration(messages))
		buf = strconv.AppendInt(buf[:0], int64(i), 10)
		if _, err := guard.Admit(ctx, leyline.Claim{Nonce: string(buf), Holder: "1-0", IssuedAt: at, Arrival: at}); err != nil {
			t.Fatal(i, err)
		}
	}
	claim.Holder, claim.Arrival = "2-0", epoch.Add(time.Minute)
	if v, err := guard.Admit(ctx, claim); err != leyline.Replayed {
		t.Errorf("replay after %d messages: %v, %v", messages, v, err)
	}
	claim.Holder = "1-0"
	if v, err := guard.Admit(ctx, claim); v != leyline.Resumed {
		t.Errorf("retry after %d messages: %v, %v", messages, v, err)
	}
}
