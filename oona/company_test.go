package oona_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/proto"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
)

// What fails a whole batch is the fault of one message: those that were handled
// with it are answered, and only it is given up.
func TestNeighboursOfWhatFailsABatch(t *testing.T) {
	const n = 40
	for name, fail := range map[string]func(ctx context.Context) []oona.Result{
		"panics":            func(context.Context) []oona.Result { panic("poison") },
		"answers too few":   func(context.Context) []oona.Result { return nil },
		"misses a deadline": func(ctx context.Context) []oona.Result { <-ctx.Done(); return nil },
		"hangs":             func(ctx context.Context) []oona.Result { <-ctx.Done(); time.Sleep(5 * time.Second); return nil },
	} {
		for _, attempts := range []int{1, 3} {
			t.Run(fmt.Sprintf("%s, %d attempts", name, attempts), func(t *testing.T) {
				inBubble(t, func(t *testing.T, rdb *redis.Client) {
					c := newClient(t, rdb, "a")
					publish(t, c, request("poison"))
					publish(t, c, requests(n)...)
					alone, inCompany := 0, 0
					h := oona.HandlerFunc(func(ctx context.Context, batch []*oona.Message) []oona.Result {
						for _, m := range batch {
							if requestID(m.Body) == "poison" {
								if len(batch) == 1 {
									alone++
								} else {
									inCompany++
								}
								return fail(ctx)
							}
						}
						return answering().Handle(ctx, batch)
					})
					stop := start(t, c, oona.Subscription{Workers: 1, MaxAttempts: attempts, HandlerTimeout: 2 * time.Second, RetryBase: 1, RetryMax: 1}, h)
					time.Sleep(3 * time.Minute)
					stop()
					oneEach(t, answers(t, rdb, c.Streams()), n)
					if got := c.Refusals().Total(leyline.AttemptsExhausted); got != 1 {
						t.Errorf("%d given up, want 1", got)
					}
					if alone == 0 || alone > attempts || inCompany > 1 {
						t.Errorf("handled alone %d times, with %d attempts, and %d times in company", alone, attempts, inCompany)
					}
				})
			})
		}
	}
}

// slow is a handler that takes its time for each message.
func slow(took time.Duration, seen *calls) oona.Handler {
	return oona.Each(func(ctx context.Context, r *pb.KernelPrefetchRequest, _ *oona.Message) ([]proto.Message, error) {
		select {
		case <-time.After(took):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		seen.note()
		return []proto.Message{ready(r.GetRequestId())}, nil
	})
}

// A batch is no larger than what its handler does in good time: messages that
// take long do not fail for the company they are in.
func TestSlowMessages(t *testing.T) {
	inBubble(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		const n = 60
		publish(t, c, requests(n)...)
		var seen calls
		stop := startSlow(t, c, 4*time.Second, &seen)
		time.Sleep(150 * time.Second)
		stop()
		oneEach(t, answers(t, rdb, c.Streams()), n)
		// Only the first, of which nothing was known, may be too many at once.
		if err := metricIs(c, "oona.handler_failures_total", 32); err != nil {
			t.Error(err)
		}
		wantRefused(t, leyline.AttemptsExhausted, 0, c)
	})
}

func startSlow(t *testing.T, c *oona.Client, took time.Duration, seen *calls) (stop func()) {
	return start(t, c, oona.Subscription{Workers: 2, HandlerTimeout: 10 * time.Second, MaxAttempts: 2}, slow(took, seen))
}

// A consumer whose handler is slow takes no more than its workers do soon: the
// rest is for siblings that come later.
func TestPrefetchFollowsTheHandler(t *testing.T) {
	inBubble(t, func(t *testing.T, rdb *redis.Client) {
		a, b := newClient(t, rdb, "a"), newClient(t, rdb, "b")
		const n = 200
		publish(t, a, requests(n)...)
		var mine, theirs calls
		sub := oona.Subscription{Workers: 2, HandlerTimeout: time.Minute}
		stopA := start(t, a, sub, slow(500*time.Millisecond, &mine))
		time.Sleep(20 * time.Second) // the first are taken before anything is known
		synctest.Wait()
		pending := rdb.XPending(t.Context(), a.Streams().KernelRequests, "weatherlight").Val().Count
		if pending > 20 {
			t.Errorf("%d taken by a consumer that does four a second", pending)
		}
		stopB := start(t, b, sub, slow(500*time.Millisecond, &theirs))
		time.Sleep(time.Minute)
		stopA()
		stopB()
		oneEach(t, answers(t, rdb, a.Streams()), n)
		if theirs.count() < n/4 {
			t.Errorf("the sibling got %d of %d", theirs.count(), n)
		}
	})
}

// A retry without charge, and an orderly stop, end what was started alone: they
// are not held against a message that is suspected of ending processes.
func TestStartsThatEnded(t *testing.T) {
	inBubble(t, func(t *testing.T, rdb *redis.Client) {
		stream := newClient(t, rdb, "x").Streams().KernelRequests
		publish(t, newClient(t, rdb, "x"), request("req-0"))
		e := readAs(t, rdb, stream, "dead", 1)[0]
		if err := rdb.Do(t.Context(), "xclaim", stream, "weatherlight", "dead", 0, e.ID, "idle", 60000, "retrycount", 4).Err(); err != nil {
			t.Fatal(err)
		}
		for i, err := range []error{oona.RetryAfter(time.Hour), errors.New("busy"), oona.RetryAfter(time.Hour), errStopping, errStopping, errStopping, errStopping, oona.RetryAfter(time.Hour)} {
			c := newClient(t, rdb, fmt.Sprint("c", i))
			var seen calls
			stop := start(t, c, oona.Subscription{DrainTimeout: time.Second, RetryBase: time.Hour, RetryMax: time.Hour}, oona.HandlerFunc(func(ctx context.Context, batch []*oona.Message) []oona.Result {
				seen.note()
				if err == errStopping {
					<-ctx.Done()
				}
				return []oona.Result{{Err: err}}
			}))
			time.Sleep(10 * time.Second)
			stop()
			if seen.count() != 1 {
				t.Errorf("handled %d times by consumer %d", seen.count(), i)
			}
		}
		c := newClient(t, rdb, "last")
		stop := start(t, c, oona.Subscription{}, answering())
		time.Sleep(10 * time.Second)
		stop()
		oneEach(t, answers(t, rdb, c.Streams()), 1)
	})
}

var errStopping = errors.New("stopping")

// What runs while the consumer stops is not taken by a sibling, however long it
// is given to end.
func TestHeartbeatWhileStopping(t *testing.T) {
	inBubble(t, func(t *testing.T, rdb *redis.Client) {
		a, b := newClient(t, rdb, "a"), newClient(t, rdb, "b")
		publish(t, a, request("req-0"))
		sub := oona.Subscription{ReclaimIdle: 3 * time.Second, DrainTimeout: time.Minute, HandlerTimeout: time.Minute}
		var mine, theirs calls
		stopA := start(t, a, sub, slow(30*time.Second, &mine))
		time.Sleep(time.Second)
		stopB := start(t, b, sub, slow(0, &theirs))
		stopA()
		time.Sleep(20 * time.Second)
		stopB()
		oneEach(t, answers(t, rdb, a.Streams()), 1)
		if mine.count() != 1 || theirs.count() != 0 {
			t.Errorf("handled %d and %d times, want 1 and 0", mine.count(), theirs.count())
		}
	})
}

// A message is read while the one before it is still being handled, soon if not at
// once.
func TestReadsBesideASlowHandler(t *testing.T) {
	inBubble(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		slow, quick := make(chan struct{}), make(chan struct{})
		h := oona.Each(func(_ context.Context, r *pb.KernelPrefetchRequest, _ *oona.Message) ([]proto.Message, error) {
			if r.GetRequestId() == "slow" {
				close(slow)
				time.Sleep(10 * time.Second)
				return nil, nil
			}
			close(quick)
			return nil, nil
		})
		stop := start(t, c, oona.Subscription{Workers: 2, HandlerTimeout: time.Minute}, h)
		publish(t, c, request("slow"))
		<-slow
		publish(t, c, request("quick"))
		published := time.Now()
		<-quick
		if waited := time.Since(published); waited > 10*time.Millisecond {
			t.Errorf("waited for %v", waited)
		}
		time.Sleep(time.Minute)
		stop()
	})
}
