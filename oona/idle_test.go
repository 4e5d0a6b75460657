package oona_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/proto"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
	"github.com/esper-lite/esper/oona/oonatest"
)

// starts notes when each request was begun, each time.
type starts struct {
	mu sync.Mutex
	at map[string][]time.Time
}

// note returns how often it was begun before.
func (s *starts) note(id string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at == nil {
		s.at = make(map[string][]time.Time)
	}
	s.at[id] = append(s.at[id], time.Now())
	return len(s.at[id]) - 1
}

// last is when the last one was begun.
func (s *starts) last() (at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, all := range s.at {
		if all[len(all)-1].After(at) {
			at = all[len(all)-1]
		}
	}
	return at
}

func (s *starts) count() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, all := range s.at {
		n += len(all)
	}
	return n
}

// No worker is idle while there is something to handle, though commits take long.
func TestNoWorkerIsIdle(t *testing.T) {
	for _, workers := range []int{1, 2, 4} {
		t.Run(fmt.Sprintf("%d workers", workers), func(t *testing.T) {
			slowCommits(t, 500*time.Millisecond, func(t *testing.T, c *oona.Client) {
				const n, took = 240, 100 * time.Millisecond
				publish(t, c, requests(n)...)
				var seen starts
				began := time.Now()
				stop := start(t, c, oona.Subscription{Workers: workers, Batch: 60, HandlerTimeout: time.Hour}, timed(&seen, took))
				time.Sleep(time.Minute)
				stop()
				if seen.count() != n {
					t.Fatalf("%d handled", seen.count())
				}
				// They come to each worker in chunks of about a second.
				if all, most := seen.last().Sub(began), n*took/time.Duration(workers)+2*time.Second; all > most {
					t.Errorf("the last is begun after %v, want at most %v", all, most)
				}
			})
		})
	}
}

// What was read at once is begun by all workers at once.
func TestBatchIsShared(t *testing.T) {
	inBubble(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		const n, took = 64, 100 * time.Millisecond
		publish(t, c, requests(n)...)
		var seen starts
		began := time.Now()
		stop := start(t, c, oona.Subscription{Workers: 4}, timed(&seen, took))
		time.Sleep(time.Minute)
		stop()
		if all := seen.last().Sub(began); seen.count() != n || all > n/4*took {
			t.Errorf("%d handled, the last is begun after %v, want %d within %v", seen.count(), all, n, n/4*took)
		}
	})
}

// slowCommits runs a test in a bubble, with a client whose scripts take so long.
func slowCommits(t *testing.T, took time.Duration, test func(t *testing.T, c *oona.Client)) {
	synctest.Test(t, func(t *testing.T) {
		bus := oonatest.New()
		defer bus.Close()
		f := oonatest.NewFaults(bus.Dial)
		f.Plan(func(_ int, command string) oonatest.Fault {
			if command == "EVALSHA" {
				return oonatest.Fault{Kind: oonatest.Delayed, Delay: took}
			}
			return oonatest.Fault{}
		})
		rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379", MaxRetries: -1, Dialer: f.Dial})
		defer func() { _ = rdb.Close() }()
		c, err := oona.New(t.Context(), rdb, oona.Config{Codec: newCodec(t), Consumer: "a", Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		test(t, c)
	})
}

func timed(seen *starts, took time.Duration) oona.Handler {
	return oona.Each(func(_ context.Context, r *pb.KernelPrefetchRequest, _ *oona.Message) ([]proto.Message, error) {
		seen.note(r.GetRequestId())
		time.Sleep(took)
		return []proto.Message{ready(r.GetRequestId())}, nil
	})
}

// What comes one by one is begun at once while a worker is free, and so is what is
// due again, though the reader waits for entries.
func TestBegunAtOnce(t *testing.T) {
	const soon = 10 * time.Millisecond
	inBubble(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		var seen starts
		stop := start(t, c, oona.Subscription{Workers: 8, HandlerTimeout: time.Minute, RetryBase: time.Second, RetryMax: time.Second},
			oona.Each(func(_ context.Context, r *pb.KernelPrefetchRequest, m *oona.Message) ([]proto.Message, error) {
				if seen.note(r.GetRequestId()) == 0 {
					return nil, errors.New("not yet")
				}
				time.Sleep(10 * time.Second)
				return []proto.Message{ready(r.GetRequestId())}, nil
			}))
		time.Sleep(time.Second)
		published := time.Now()
		for i := range 8 {
			publish(t, c, request(fmt.Sprint("req-", i)))
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(time.Minute)
		stop()
		oneEach(t, answers(t, rdb, c.Streams()), 8)
		for i := range 8 {
			at := seen.at[fmt.Sprint("req-", i)]
			if len(at) != 2 {
				t.Fatalf("message %d is begun %d times", i, len(at))
			}
			if first := at[0].Sub(published) - time.Duration(i)*20*time.Millisecond; first > soon {
				t.Errorf("message %d is begun after %v", i, first)
			}
			if again := at[1].Sub(at[0]); again > 1250*time.Millisecond+soon {
				t.Errorf("message %d is begun again after %v", i, again)
			}
		}
	})
}

// A handler that was left behind gives its place to another when it returns.
func TestPlaceOfALateHandler(t *testing.T) {
	inBubble(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		var seen starts
		const late = 20 * time.Second
		stop := start(t, c, oona.Subscription{Workers: 1, Batch: 1, HandlerTimeout: time.Second, RetryBase: time.Hour, RetryMax: time.Hour},
			oona.Each(func(_ context.Context, r *pb.KernelPrefetchRequest, _ *oona.Message) ([]proto.Message, error) {
				seen.note(r.GetRequestId())
				if r.GetRequestId() == "late" {
					time.Sleep(late)
				}
				return []proto.Message{ready(r.GetRequestId())}, nil
			}))
		began := time.Now()
		publish(t, c, request("late"))
		time.Sleep(time.Second)
		publish(t, c, request("next"))
		time.Sleep(time.Minute)
		stop()
		if len(seen.at["next"]) != 1 {
			t.Fatal("the next is not begun")
		}
		if waited := seen.at["next"][0].Sub(began); waited < late || waited > late+10*time.Millisecond {
			t.Errorf("the next is begun after %v, want %v", waited, late)
		}
	})
}

// What is lost to a sibling makes room for others, though nothing else happens.
func TestRoomOfWhatIsLost(t *testing.T) {
	inBubble(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		stream := c.Streams().KernelRequests
		publish(t, c, requests(10)...)
		var seen starts
		stop := start(t, c, oona.Subscription{Workers: 1, Batch: 1, HandlerTimeout: time.Hour, ReclaimIdle: 30 * time.Second, DrainTimeout: time.Second}, timed(&seen, time.Hour))
		time.Sleep(time.Second)
		synctest.Wait()
		held := ownedBy(t, rdb, stream, "a")
		for _, id := range held[1:] {
			if err := rdb.XClaimJustID(t.Context(), &redis.XClaimArgs{Stream: stream, Group: "weatherlight", Consumer: "thief", Messages: []string{id}}).Err(); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(25 * time.Second)
		synctest.Wait()
		if got := ownedBy(t, rdb, stream, "a"); len(got) != len(held) {
			t.Errorf("holds %d, want %d as before", len(got), len(held))
		}
		stop()
		time.Sleep(time.Hour)
	})
}

// ownedBy returns the ids that are pending with a consumer.
func ownedBy(t *testing.T, rdb *redis.Client, stream, consumer string) (ids []string) {
	all, err := rdb.XPendingExt(t.Context(), &redis.XPendingExtArgs{Stream: stream, Group: "weatherlight", Start: "-", End: "+", Count: 100, Consumer: consumer}).Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		ids = append(ids, p.ID)
	}
	return ids
}
