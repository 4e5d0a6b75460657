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
func faultyPath(t *testing.T, f *oonatest.Faults, rdb, clean *redis.Client, out func(id string) oona.Outgoing) []string {
	const n = 4
	c := untilSure(t, func() (*oona.Client, error) {
		return oona.New(t.Context(), rdb, oona.Config{Codec: newCodec(t), Consumer: "a", Logger: slog.New(slog.DiscardHandler)})
	})
	for i := range n {
		untilSure(t, func() ([]oona.Receipt, error) { return c.Send(t.Context(), out(fmt.Sprintf("req-%d", i))) })
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	sub := oona.Subscription{
		Stream: c.Streams().KernelRequests, Group: "weatherlight",
		Batch: 2, Workers: 1, ReclaimIdle: time.Second, ClaimFirst: true, RetryBase: 10 * time.Millisecond, RetryMax: 10 * time.Millisecond,
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
		t.Run(name, func(t *testing.T) {
			for n, total := 1, 1; n <= total; n++ {
				out := ordinary
				if n%2 == 0 {
					out = once
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
					commands := faultyPath(t, f, rdb, clean, out)
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
				commands := faultyPath(t, f, rdb, clean, ordinary)
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
// published once is published once whatever happens.
func TestUncertainPublishing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := oonatest.New()
		defer bus.Close()
		f := oonatest.NewFaults(bus.Dial)
		rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379", MaxRetries: -1, Dialer: f.Dial})
		defer func() { _ = rdb.Close() }()
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
		var got []string
		for _, e := range rdb.XRange(t.Context(), c.Streams().KernelRequests, "-", "+").Val() {
			got = append(got, requestID(open(t, e)))
		}
		if fmt.Sprint(got) != "[first second fourth sixth]" {
			t.Errorf("published %v", got)
		}
	})
}
