package oona_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
)

// buried returns the letters of n requests that were given up.
func buried(t *testing.T, rdb *redis.Client, c *oona.Client, n int) []oona.Letter {
	t.Helper()
	publish(t, c, requests(n)...)
	stop := consume(t, c, oona.Subscription{}, oona.Each(func(context.Context, *pb.KernelPrefetchRequest, *oona.Message) ([]proto.Message, error) {
		return nil, oona.DeadLetter(errors.New("the disk is full"))
	}))
	eventually(t, settled(t, rdb, c.Streams().KernelRequests, int64(n)))
	stop()
	letters, err := c.DeadLetters().List(t.Context(), oona.EntryID{}, 0)
	if err != nil || len(letters) != n {
		t.Fatalf("%d letters, %v; want %d", len(letters), err, n)
	}
	return letters
}

func TestDeadLetters(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		letters := buried(t, rdb, c, 5)
		d := c.DeadLetters()
		original := rdb.XRange(t.Context(), c.Streams().KernelRequests, "-", "+").Val()
		for i, l := range letters {
			if l.EntryID.String() != original[i].ID || string(l.Payload) != original[i].Values["payload"] || string(l.Signature) != original[i].Values["signature"] {
				t.Errorf("letter %d is not entry %s", i, original[i].ID)
			}
			if l.Stream != c.Streams().KernelRequests || l.Group != "weatherlight" || l.Consumer != "a" || l.Reason != leyline.Rejected ||
				l.Error != "the disk is full" || l.Attempts != 1 || l.Deliveries != 1 || time.Since(l.LastFailed) > time.Minute {
				t.Errorf("letter %d: %+v", i, l)
			}
			if diff := cmp.Diff(open(t, original[i]), l.Body, protocmp.Transform()); diff != "" {
				t.Errorf("letter %d (-want +got):\n%s", i, diff)
			}
		}
		page, err := d.List(t.Context(), letters[1].ID, 2)
		if err != nil || len(page) != 2 || page[0].ID != letters[2].ID {
			t.Errorf("second page %v, %v", page, err)
		}
		if n, err := d.Drop(t.Context(), letters[0].ID, letters[4].ID, oona.EntryID{Ms: 1}); n != 2 || err != nil {
			t.Errorf("dropped %d, %v", n, err)
		}
		if n, err := d.Len(t.Context()); n != 3 || err != nil {
			t.Errorf("%d left, %v", n, err)
		}
		if _, err := d.Get(t.Context(), letters[0].ID); !errors.Is(err, oona.ErrNoLetter) {
			t.Errorf("a dropped letter: %v", err)
		}
	})
}

// A replayed letter is sealed anew and answered once; its copy, and its original,
// stay replays.
func TestReplayDeadLetter(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		stream := c.Streams().KernelRequests
		letters := buried(t, rdb, c, 2)
		receipt, err := c.DeadLetters().Replay(t.Context(), letters[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.DeadLetters().Replay(t.Context(), letters[0].ID); !errors.Is(err, oona.ErrNoLetter) {
			t.Errorf("again: %v", err)
		}
		entries := rdb.XRange(t.Context(), stream, "-", "+").Val()
		revived := entries[len(entries)-1]
		was, is := letters[0].Body.(*pb.KernelPrefetchRequest), open(t, revived).(*pb.KernelPrefetchRequest)
		if revived.ID != receipt.ID.String() || receipt.Stream != stream {
			t.Errorf("receipt %+v, entry %s", receipt, revived.ID)
		}
		if !is.GetIssuedAt().AsTime().After(was.GetIssuedAt().AsTime()) {
			t.Error("it was not issued anew")
		}
		is.IssuedAt = was.IssuedAt
		if diff := cmp.Diff(was, is, protocmp.Transform()); diff != "" {
			t.Errorf("message (-was +is):\n%s", diff)
		}
		// The original, and a copy of the revived one, before it is served.
		add(t, rdb, stream, entries[0].Values)
		add(t, rdb, stream, revived.Values)
		consume(t, c, oona.Subscription{}, answering())
		eventually(t, settled(t, rdb, stream, 5))
		if err := onlyAnswer(t, rdb, c, "req-0"); err != nil {
			t.Error(err)
		}
		wantRefused(t, leyline.Replayed, 2, c)
	})
}

// A second message with the id of a letter is a replay, and stays one while the
// letter lies there. A letter whose id was settled otherwise is not replayed.
func TestLetterKeepsItsNonce(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		stream := c.Streams().KernelRequests
		letters := buried(t, rdb, c, 1)
		publish(t, c, request("req-0"))
		stop := consume(t, c, oona.Subscription{}, answering())
		eventually(t, settled(t, rdb, stream, 2))
		wantRefused(t, leyline.Replayed, 1, c)
		stop()
		for _, key := range rdb.Keys(t.Context(), "oona:nonces:*").Val() {
			rdb.Del(t.Context(), key) // as after an hour
		}
		publish(t, c, request("req-0"))
		stop = consume(t, c, oona.Subscription{}, answering())
		eventually(t, settled(t, rdb, stream, 3))
		stop()
		if err := onlyAnswer(t, rdb, c, "req-0"); err != nil {
			t.Error(err)
		}
		if _, err := c.DeadLetters().Replay(t.Context(), letters[0].ID); !errors.Is(err, leyline.Replayed) {
			t.Errorf("replayed all the same: %v", err)
		}
		if n, _ := c.DeadLetters().Len(t.Context()); n != 1 {
			t.Errorf("%d letters, want it to stay", n)
		}
	})
}

// Letters of others, and letters that are not what they seem.
func TestStrangeLetters(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		dead := c.Streams().DeadLetter
		with := func(fields map[string]any, more ...any) map[string]any {
			for i := 0; i < len(more); i += 2 {
				fields[more[i].(string)] = more[i+1]
			}
			return fields
		}
		command := &pb.AdaptationCommand{CommandId: "c", IssuedAt: timestamppb.Now()}
		for _, test := range []struct {
			name   string
			fields map[string]any
			stream string
			want   error
		}{
			{"a Python service's: only the message", sealed(t, newCodec(t), request("python")), c.Streams().KernelRequests, nil},
			{"of a stream of the embedder's", with(sealed(t, newCodec(t), request("own")), "stream", "own.requests", "group", "g", "entry_id", "5-1"), "own.requests", nil},
			{"forged", with(sealed(t, newCodec(t), request("forged")), "signature", "no"), "", leyline.BadSignature},
			{"unsigned", map[string]any{"payload": "x"}, "", leyline.Unsigned},
			{"malformed", signed(t, "\x08\x06\x12\x02\x0a\x7f"), "", leyline.Malformed},
			{"without its id", sealed(t, newCodec(t), request("")), "", leyline.Malformed},
			{"a command", sealed(t, newCodec(t), command), "", oona.ErrNotReplayable},
			{"from the dead letters", with(sealed(t, newCodec(t), request("loop")), "stream", dead), "", oona.ErrNotReplayable},
		} {
			id, err := oona.ParseEntryID(add(t, rdb, dead, test.fields))
			if err != nil {
				t.Fatal(err)
			}
			receipt, err := c.DeadLetters().Replay(t.Context(), id)
			if !errors.Is(err, test.want) || receipt.Stream != test.stream {
				t.Errorf("%s: %+v, %v; want %v", test.name, receipt, err, test.want)
			}
			if _, err := c.DeadLetters().Get(t.Context(), id); (err == nil) != (test.want != nil) {
				t.Errorf("%s: afterwards %v", test.name, err)
			}
		}
	})
}

// A letter that fails again is a letter again, and can be replayed again.
func TestReplayUntilItSucceeds(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		stream := c.Streams().KernelRequests
		letters := buried(t, rdb, c, 1)
		var tries atomic.Int64
		consume(t, c, oona.Subscription{ClaimFirst: true}, oona.Each(func(_ context.Context, r *pb.KernelPrefetchRequest, _ *oona.Message) ([]proto.Message, error) {
			if tries.Add(1) < 3 {
				return nil, oona.DeadLetter(nil)
			}
			return []proto.Message{ready(r.GetRequestId())}, nil
		}))
		for round := int64(2); round <= 4; round++ {
			if _, err := c.DeadLetters().Replay(t.Context(), letters[0].ID); err != nil {
				t.Fatal(err)
			}
			eventually(t, settled(t, rdb, stream, round))
			letters, _ = c.DeadLetters().List(t.Context(), oona.EntryID{}, 0)
		}
		if err := onlyAnswer(t, rdb, c, "req-0"); err != nil || len(letters) != 0 {
			t.Errorf("%v; %d letters left", err, len(letters))
		}
	})
}

// newStrictClient is newClient of one that demands our signed attributes.
func newStrictClient(t testing.TB, rdb redis.UniversalClient, consumer string) *oona.Client {
	t.Helper()
	guard, err := leyline.NewGuard(leyline.GuardConfig{Mode: leyline.Strict})
	if err != nil {
		t.Fatal(err)
	}
	c, err := oona.New(t.Context(), rdb, oona.Config{Codec: newCodec(t), Guard: guard, Consumer: consumer})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A message that did not belong where it was read goes to the stream of its type,
// sealed for it, and once; one that was refused on the stream of its type stays,
// unless it is told where to go.
func TestReplayOfAnUnexpectedType(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		s := c.Streams()
		lettersOf := func(n int) []oona.Letter {
			t.Helper()
			letters, err := c.DeadLetters().List(t.Context(), oona.EntryID{}, 0)
			if err != nil || len(letters) != n {
				t.Fatalf("%d letters, %v; want %d", len(letters), err, n)
			}
			return letters
		}
		if _, err := c.Send(t.Context(), oona.Outgoing{Message: ready("lost"), Stream: s.KernelRequests}); err != nil {
			t.Fatal(err)
		}
		stop := consume(t, c, oona.Subscription{Types: []pb.BusMessageType{pb.BusMessageType_BUS_MESSAGE_TYPE_KERNEL_PREFETCH_REQUEST}}, answering())
		eventually(t, settled(t, rdb, s.KernelRequests, 1))
		stop()
		letter := lettersOf(1)[0]
		receipt, err := c.DeadLetters().Replay(t.Context(), letter.ID)
		if err != nil || receipt.Stream != s.KernelReady {
			t.Fatalf("%+v, %v; want it on %s", receipt, err, s.KernelReady)
		}
		strict := newStrictClient(t, rdb, "b")
		var seen journal
		follow(t, strict, oona.Following{From: oona.Cursor{s.KernelReady: {}}}, &seen)
		eventually(t, seen.wants("lost"))

		// Of the stream of its own type.
		publish(t, c, request("req-1"))
		stop = consume(t, c, oona.Subscription{Types: []pb.BusMessageType{pb.BusMessageType_BUS_MESSAGE_TYPE_BENCHMARK_REPORT}}, answering())
		eventually(t, settled(t, rdb, s.KernelRequests, 2))
		stop()
		letter = lettersOf(1)[0]
		if _, err := c.DeadLetters().Replay(t.Context(), letter.ID); !errors.Is(err, oona.ErrNotReplayable) {
			t.Errorf("replayed to where it was refused: %v", err)
		}
		if _, err := c.DeadLetters().ReplayTo(t.Context(), letter.ID, s.DeadLetter); !errors.Is(err, oona.ErrNotReplayable) {
			t.Errorf("replayed to the dead letters: %v", err)
		}
		if _, err := c.DeadLetters().ReplayTo(t.Context(), letter.ID, ""); !errors.Is(err, oona.ErrStreams) {
			t.Errorf("replayed to a stream without a name: %v", err)
		}
		lettersOf(1)
		if receipt, err = c.DeadLetters().ReplayTo(t.Context(), letter.ID, s.Emergency); err != nil || receipt.Stream != s.Emergency {
			t.Fatalf("%+v, %v; want it on %s", receipt, err, s.Emergency)
		}
		lettersOf(0)
		consume(t, strict, oona.Subscription{Stream: s.Emergency, Others: oona.AcknowledgeOthers}, answering())
		eventually(t, seen.wants("lost", "req-1"))
	})
}

// Wherever a letter goes its nonce goes with it: it is not answered there and
// where it was.
func TestReplayElsewhereIsAnsweredOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		s := c.Streams()
		letters := buried(t, rdb, c, 1)
		if _, err := c.DeadLetters().ReplayTo(t.Context(), letters[0].ID, s.Emergency); err != nil {
			t.Fatal(err)
		}
		publish(t, c, request("req-0")) // the same id, where it was
		consume(t, c, oona.Subscription{}, answering())
		eventually(t, settled(t, rdb, s.KernelRequests, 2))
		wantRefused(t, leyline.Replayed, 1, c)
		consume(t, c, oona.Subscription{Stream: s.Emergency, Others: oona.AcknowledgeOthers}, answering())
		eventually(t, func() error { return onlyAnswer(t, rdb, c, "req-0") })
	})
}
