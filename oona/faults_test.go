package oona_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/esper-lite/esper/oona"
	"github.com/esper-lite/esper/oona/oonatest"
	"github.com/esper-lite/esper/oona/oonatest/redistest"
)

// faultyPath publishes requests and has them answered, over connections that
// fail as planned, and returns the commands that it took. Whoever publishes goes
// on until he knows that he did; clean is a client without faults.
func faultyPath(t *testing.T, f *oonatest.Faults, rdb, clean *redis.Client, path faulty) []string {
	const n = 4
	c := untilSure(t, func() (*oona.Client, error) {
		return oona.New(t.Context(), rdb, oona.Config{Codec: newCodec(t), Consumer: "a", Logger: slog.New(slog.DiscardHandler)})
	})
	for i := range n {
		untilSure(t, func() ([]oona.Receipt, error) { return c.Send(t.Context(), path.out(fmt.Sprintf("req-%d", i))) })
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	sub := oona.Subscription{
		Stream: c.Streams().KernelRequests, Group: "weatherlight",
		Batch: 2, Workers: 1, ReclaimIdle: time.Second, ClaimFirst: path.claim, RetryBase: 10 * time.Millisecond, RetryMax: 10 * time.Millisecond,
	}
	var consuming sync.WaitGroup
	consuming.Go(func() {
		for ctx.Err() == nil { // as a supervisor would
			_ = c.Consume(ctx, sub, answering())
		}
	})
	for tries := 0; len(answers(t, clean, c.Streams())) < n; tries++ {
		if tries == 2000 {
			t.Fatalf("answers %v after %v", answers(t, clean, c.Streams()), f.Commands())
		}
		pause(t, 20*time.Millisecond)
	}
	cancel()
	consuming.Wait()
	commands := f.Commands()
	oneEach(t, answers(t, clean, c.Streams()), n)
	if letters := clean.XLen(t.Context(), c.Streams().DeadLetter).Val(); letters != 0 {
		t.Errorf("%d dead letters", letters)
	}
	return commands
}

// faulty is one of the ways from publishing to the answer.
type faulty struct {
	out   func(id string) oona.Outgoing
	claim bool // before handling
}

// untilSure does something until it succeeds.
func untilSure[T any](t testing.TB, do func() (T, error)) T {
	for {
		v, err := do()
		if err == nil {
			return v
		}
		if t.Context().Err() != nil {
			t.Fatal(err)
		}
		pause(t, 50*time.Millisecond)
	}
}

// ordinary and once are the two ways to publish.
func ordinary(id string) oona.Outgoing { return oona.Outgoing{Message: request(id)} }
func once(id string) oona.Outgoing     { return oona.Outgoing{Message: request(id), Once: true} }

var faultKinds = map[string]oonatest.Fault{
	"before":  {Kind: oonatest.BreakBefore},
	"after":   {Kind: oonatest.BreakAfter},
	"refused": {Kind: oonatest.Refused},
	"loading": {Kind: oonatest.Refused, Reply: "LOADING injected"},
	"delayed": {Kind: oonatest.Delayed, Delay: 700 * time.Millisecond},
}

// TestFaultAtEveryCommand breaks each command of the path from publishing to the
// answer in turn: nothing is lost, nothing is answered twice.
func TestFaultAtEveryCommand(t *testing.T) {
	for name, fault := range faultKinds {
		for _, claim := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, claim %t", name, claim), func(t *testing.T) {
				t.Parallel()
				for n, total := 1, 1; n <= total; n++ {
					path := faulty{ordinary, claim}
					if n%2 == 0 {
						path.out = once
					}
					synctest.Test(t, func(t *testing.T) {
						bus := oonatest.New()
						defer bus.Close()
						f := oonatest.NewFaults(bus.Dial)
						rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379", MaxRetries: -1, Dialer: f.Dial})
						defer func() { _ = rdb.Close() }()
						clean := bus.Redis()
						defer func() { _ = clean.Close() }()
						f.At(n, fault)
						commands := faultyPath(t, f, rdb, clean, path)
						total = max(total, min(len(commands), 60))
						if t.Failed() {
							t.Errorf("the fault was at command %d, %s of %v", n, commands[n-1], commands)
						}
					})
					if t.Failed() {
						return
					}
				}
			})
		}
	}
}

// TestFaultAtEveryCommandOfRedis does the same to a real server.
func TestFaultAtEveryCommandOfRedis(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 20 seconds")
	}
	server := redistest.Start(t, "--appendfsync", "no")
	clean := server.Client()
	for _, name := range []string{"before", "after"} {
		t.Run(name, func(t *testing.T) {
			for n, total := 1, 1; n <= total; n++ {
				if err := clean.FlushAll(t.Context()).Err(); err != nil {
					t.Fatal(err)
				}
				f := oonatest.NewFaults(nil)
				rdb := redis.NewClient(&redis.Options{Addr: server.Addr(), MaxRetries: -1, Dialer: f.Dial})
				f.At(n, faultKinds[name])
				commands := faultyPath(t, f, rdb, clean, faulty{ordinary, true})
				total = max(total, min(len(commands), 40))
				_ = rdb.Close()
				if t.Failed() {
					t.Fatalf("the fault was at command %d, %s of %v", n, commands[n-1], commands)
				}
			}
		})
	}
}

// A message whose outcome is not known is said to be such, and one that is
// published once is published once whatever happens. That a client of a Cluster
// repeats commands by itself changes nothing.
func TestUncertainPublishing(t *testing.T) {
	for name, dial := range map[string]func(f *oonatest.Faults) redis.UniversalClient{
		"standalone": func(f *oonatest.Faults) redis.UniversalClient {
			return redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379", MaxRetries: -1, Dialer: f.Dial})
		},
		"cluster": clusterOf,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				bus := oonatest.New()
				defer bus.Close()
				f := oonatest.NewFaults(bus.Dial)
				rdb := dial(f)
				defer time.Sleep(time.Second) // go-redis looks at the cluster once more
				defer func() { _ = rdb.Close() }()
				uncertainPublishing(t, f, rdb)
			})
		})
	}
}

// clusterOf is a client of a Cluster of one node, which repeats commands by itself.
func clusterOf(f *oonatest.Faults) redis.UniversalClient {
	all := []redis.ClusterSlot{{End: 16383, Nodes: []redis.ClusterNode{{Addr: "127.0.0.1:6379"}}}}
	return redis.NewClusterClient(&redis.ClusterOptions{
		Dialer:       f.Dial,
		ClusterSlots: func(context.Context) ([]redis.ClusterSlot, error) { return all, nil },
	})
}

func uncertainPublishing(t *testing.T, f *oonatest.Faults, rdb redis.UniversalClient) {
	c := newClient(t, rdb, "a")
	publish(t, c, request("first"))
	f.At(1, oonatest.Fault{Kind: oonatest.BreakAfter})
	if _, err := c.Publish(t.Context(), request("second")); !isUncertain(err) {
		t.Errorf("error %v", err)
	}
	f.At(1, oonatest.Fault{Kind: oonatest.Refused})
	if _, err := c.Publish(t.Context(), request("third")); err == nil || isUncertain(err) {
		t.Errorf("error %v", err)
	}
	f.At(1, oonatest.Fault{Kind: oonatest.BreakAfter})
	receipts, err := c.Send(t.Context(), once("fourth"), ordinary("fifth"), once("sixth"))
	if !isUncertain(err) || receipts[0].Err != nil || !isUncertain(receipts[1].Err) || receipts[2].Err != nil {
		t.Errorf("receipts %v, error %v", receipts, err)
	}
	// The last try was refused, but the first one was not.
	f.Plan(func(n int, _ string) oonatest.Fault {
		if n == 1 {
			return oonatest.Fault{Kind: oonatest.BreakAfter}
		}
		return oonatest.Fault{Kind: oonatest.Refused, Reply: "LOADING"}
	})
	if _, err := c.Send(t.Context(), once("seventh")); !isUncertain(err) {
		t.Errorf("error %v", err)
	}
	f.Plan(nil)
	var got []string
	for _, e := range rdb.XRange(t.Context(), c.Streams().KernelRequests, "-", "+").Val() {
		got = append(got, requestID(open(t, e)))
	}
	if fmt.Sprint(got) != "[first second fourth sixth seventh]" {
		t.Errorf("published %v", got)
	}
}

// A read whose reply was lost is not repeated before it was looked for what that
// held, by a client of a Cluster either.
func TestLostReplyOfARead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := oonatest.New()
		defer bus.Close()
		f := oonatest.NewFaults(bus.Dial)
		rdb := clusterOf(f)
		defer time.Sleep(time.Second) // go-redis looks at the cluster once more
		defer func() { _ = rdb.Close() }()
		clean := bus.Redis()
		defer func() { _ = clean.Close() }()
		c := newClient(t, rdb, "a")
		broken := false
		f.Plan(func(_ int, command string) oonatest.Fault {
			if command == "XREADGROUP" && !broken {
				broken = true
				return oonatest.Fault{Kind: oonatest.BreakAfter}
			}
			return oonatest.Fault{}
		})
		publish(t, c, requests(3)...)
		stop := start(t, c, oona.Subscription{ReclaimIdle: time.Hour}, answering())
		time.Sleep(10 * time.Second)
		stop()
		oneEach(t, answers(t, clean, c.Streams()), 3)
	})
}
