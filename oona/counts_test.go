package oona_test

import (
	"bufio"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/esper-lite/esper/oona"
	"github.com/esper-lite/esper/oona/oonatest"
	"github.com/esper-lite/esper/oona/oonatest/redistest"
)

// commandCounts asks a server how often it ran each command, those inside scripts
// included.
func commandCounts(t testing.TB, rdb *redis.Client) map[string]int {
	t.Helper()
	text, err := rdb.Info(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`^cmdstat_([a-z|]+):calls=(\d+),`)
	counts := make(map[string]int)
	for s := bufio.NewScanner(strings.NewReader(text)); s.Scan(); {
		if m := line.FindStringSubmatch(s.Text()); m != nil {
			counts[m[1]], _ = strconv.Atoi(m[2])
		}
	}
	return counts
}

func resetCounts(t testing.TB, rdb *redis.Client) {
	t.Helper()
	if err := rdb.ConfigResetStat(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
}

// scripts is how many scripts ran.
func scripts(counts map[string]int) int { return counts["eval"] + counts["evalsha"] }

// TestCommandsPerPublishedMessage: one, whether alone or in a batch; how much
// waits is asked once for a thousand.
func TestCommandsPerPublishedMessage(t *testing.T) {
	rdb := redistest.Start(t, "--appendfsync", "no").Client()
	c := newClient(t, rdb, "a")
	publish(t, c, request("first"))
	for _, batch := range []int{1, 256} {
		const n = 512
		resetCounts(t, rdb)
		for start := 0; start < n; start += batch {
			var out []oona.Outgoing
			for i := range batch {
				out = append(out, oona.Outgoing{Message: request(fmt.Sprintf("req-%d-%d", batch, start+i))})
			}
			if _, err := c.Send(t.Context(), out...); err != nil {
				t.Fatal(err)
			}
		}
		got := commandCounts(t, rdb)
		if got["xadd"] != n || scripts(got) > 1 {
			t.Errorf("in batches of %d: %d XADD and %d scripts for %d messages, want as many and at most 1", batch, got["xadd"], scripts(got), n)
		}
	}
}

// TestCommandsPerConsumedMessage counts what a request costs that is answered:
// what the consumer sends, and what runs inside its scripts.
func TestCommandsPerConsumedMessage(t *testing.T) {
	for _, test := range []struct {
		batch, n int
		sent     float64 // per message, at most
		inside   float64
	}{
		{batch: 1, n: 200, sent: 2, inside: 9},
		{batch: 256, n: 10_240, sent: 0.03, inside: 1.15},
	} {
		t.Run(fmt.Sprintf("batch %d", test.batch), func(t *testing.T) {
			rdb := redistest.Start(t, "--appendfsync", "no").Client()
			c := newClient(t, rdb, "a")
			stream := c.Streams().KernelRequests
			for start := 0; start < test.n; start += 1024 {
				var out []oona.Outgoing
				for i := start; i < min(start+1024, test.n); i++ {
					out = append(out, oona.Outgoing{Message: request(fmt.Sprintf("req-%d", i))})
				}
				if _, err := c.Send(t.Context(), out...); err != nil {
					t.Fatal(err)
				}
			}
			resetCounts(t, rdb)
			consume(t, c, oona.Subscription{Batch: test.batch, Workers: 2}, answering())
			eventuallyWithin(t, time.Minute, func() error { return metricIs(c, "oona.consume_total", float64(test.n)) })
			got := commandCounts(t, rdb)
			if len(answers(t, rdb, c.Streams())) != test.n || rdb.XLen(t.Context(), stream).Val() != int64(test.n) {
				t.Fatal("not all was answered; nothing was measured")
			}
			// What is sent once, at the start: the group, its mark with what follows
			// from it, a look at what is pending (twice), and the connection itself.
			const once = 16
			sent := got["xreadgroup"] + scripts(got)
			inside := 0
			for _, name := range []string{"xack", "xadd", "hset", "hmget", "hlen", "time", "xclaim", "hget", "hdel", "exists"} {
				inside += got[name]
			}
			t.Logf("%d messages: sent %d XREADGROUP and %d scripts; inside these %v", test.n, got["xreadgroup"], scripts(got), got)
			if got["xadd"] != test.n {
				t.Errorf("%d XADD for %d answers", got["xadd"], test.n)
			}
			if per := float64(sent-once) / float64(test.n); per > test.sent {
				t.Errorf("%.3f commands sent per message, want at most %v", per, test.sent)
			}
			if per := float64(inside-once) / float64(test.n); per > test.inside {
				t.Errorf("%.3f commands inside scripts per message, want at most %v", per, test.inside)
			}
			if test.batch == 1 && (got["xack"] != test.n || got["time"]-test.n > once || got["xreadgroup"] > test.n+2) {
				t.Errorf("one by one: %d XACK, %d TIME and %d XREADGROUP for %d messages", got["xack"], got["time"], got["xreadgroup"], test.n)
			}
		})
	}
}

// TestCommandsOfOneMessage: a message that is alone costs one read and one
// commit, with a batch of one and of any size; publishing it costs one XADD.
func TestCommandsOfOneMessage(t *testing.T) {
	for _, batch := range []int{1, 256} {
		for _, claim := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				bus := oonatest.New()
				defer bus.Close()
				f := oonatest.NewFaults(bus.Dial)
				rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379", MaxRetries: -1, Dialer: f.Dial})
				defer func() { _ = rdb.Close() }()
				clean := bus.Redis()
				defer func() { _ = clean.Close() }()
				c, other := newClient(t, rdb, "a"), newClient(t, clean, "b")
				stop := start(t, c, oona.Subscription{Batch: batch, ClaimFirst: claim}, answering())
				publish(t, c, request("first"))
				synctest.Wait()
				publish(t, other, request("other"))
				synctest.Wait()

				f.Plan(nil)
				publish(t, other, request("second"))
				synctest.Wait()
				want := []string{"EVALSHA", "XREADGROUP"} // the commit, and the next read
				if claim {
					want = []string{"EVALSHA", "EVALSHA", "XREADGROUP"}
				}
				if diff := cmp.Diff(want, slices.Sorted(slices.Values(f.Commands()))); diff != "" {
					t.Errorf("consuming one with a batch of %d (-want +got):\n%s", batch, diff)
				}
				stop()

				f.Plan(nil)
				publish(t, c, request("third"))
				if diff := cmp.Diff([]string{"XADD"}, f.Commands()); diff != "" {
					t.Errorf("publishing one (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// TestIdleCost runs what a service has running, with nothing to do.
func TestIdleCost(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes 15 seconds")
	}
	rdb := redistest.Start(t).Client()
	c := newClient(t, rdb, "a")
	s := c.Streams()
	var starting sync.WaitGroup
	starting.Add(2)
	consume(t, c, oona.Subscription{Ready: starting.Done}, answering())
	consume(t, c, oona.Subscription{Stream: s.Emergency, Others: oona.AcknowledgeOthers, Ready: starting.Done}, answering())
	tail, err := c.Tail(t.Context(), s.KernelReady, s.KernelErrors, s.Normal, s.Emergency, s.Policy)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 { // coordinator, policies, signals
		follow(t, c, oona.Following{From: tail}, oona.HandlerFunc(nil))
	}
	keep := housekeeper(t, c, oona.Housekeeping{})
	var keeping sync.WaitGroup
	t.Cleanup(keeping.Wait)
	keeping.Go(func() { _ = keep.Run(t.Context()) })
	starting.Wait()
	pause(t, time.Second) // the start is not idle
	const span = 14 * time.Second
	resetCounts(t, rdb)
	pause(t, span)
	total := 0
	got := commandCounts(t, rdb)
	for name, n := range got {
		if name != "config|resetstat" && name != "info" {
			total += n
		}
	}
	rate := float64(total) / span.Seconds()
	t.Logf("%.2f commands per second, those inside scripts included: %v", rate, got)
	if rate > 5 {
		t.Errorf("%.2f commands per second when idle, want at most 5", rate)
	}
}
