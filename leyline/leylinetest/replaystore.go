// Package leylinetest holds the tests that an implementation of a leyline
// interface must pass.
package leylinetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/esper-lite/esper/leyline"
)

// TestReplayStore runs the tests that every [leyline.ReplayStore] must pass.
// newStore returns an empty store with room for 20,000 nonces; it is called
// once per subtest and cleans up with t.Cleanup.
//
// The tests claim with present times and wait for nothing. When a store forgets
// is its own to define and to test: here it only must not forget what is live.
func TestReplayStore(t *testing.T, newStore func(t *testing.T) leyline.ReplayStore) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, leyline.ReplayStore)
	}{
		{"first claim is fresh", testFresh},
		{"same holder resumes", testResumed},
		{"other holder is a replay", testReplayed},
		{"no holder never resumes", testNoHolder},
		{"a refused claim takes nothing over", testRefusedClaimBindsNothing},
		{"nonces are compared whole", testOddNonces},
		{"a later until does not free a nonce", testLaterUntil},
		{"nothing live is forgotten", testNothingForgotten},
		{"concurrent holders: one is fresh", testConcurrentHolders},
		{"concurrent claims of one holder all pass", testConcurrentRetries},
		{"cancelled context", testCancelled},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, newStore(t)) })
	}
}

// retention is what a guard with default settings asks for.
const retention = leyline.DefaultWindow + leyline.DefaultClockSkew

// claim claims a nonce issued a second ago.
func claim(ctx context.Context, s leyline.ReplayStore, nonce, holder string) (leyline.Verdict, error) {
	now := time.Now()
	c := leyline.Claim{Nonce: nonce, Holder: holder, IssuedAt: now.Add(-time.Second), Arrival: now}
	return s.Claim(ctx, c, c.IssuedAt.Add(retention))
}

func want(t *testing.T, s leyline.ReplayStore, nonce, holder string, verdict leyline.Verdict, reason error) {
	t.Helper()
	got, err := claim(t.Context(), s, nonce, holder)
	if got != verdict || !errors.Is(err, reason) {
		t.Errorf("claim of %.40q by %q = %v, %v; want %v, %v", nonce, holder, got, err, verdict, reason)
	}
}

func testFresh(t *testing.T, s leyline.ReplayStore) {
	want(t, s, "a", "1-0", leyline.Fresh, nil)
	want(t, s, "b", "1-0", leyline.Fresh, nil)
}

func testResumed(t *testing.T, s leyline.ReplayStore) {
	want(t, s, "a", "1-0", leyline.Fresh, nil)
	for range 3 {
		want(t, s, "a", "1-0", leyline.Resumed, nil)
	}
}

func testReplayed(t *testing.T, s leyline.ReplayStore) {
	want(t, s, "a", "1-0", leyline.Fresh, nil)
	want(t, s, "a", "1-1", 0, leyline.Replayed)
	want(t, s, "a", "", 0, leyline.Replayed)
	want(t, s, "a", "1-0", leyline.Resumed, nil)
}

func testNoHolder(t *testing.T, s leyline.ReplayStore) {
	want(t, s, "a", "", leyline.Fresh, nil)
	want(t, s, "a", "", 0, leyline.Replayed)
	want(t, s, "a", "1-0", 0, leyline.Replayed)
}

func testRefusedClaimBindsNothing(t *testing.T, s leyline.ReplayStore) {
	want(t, s, "a", "1-0", leyline.Fresh, nil)
	for range 3 {
		want(t, s, "a", "2-0", 0, leyline.Replayed)
	}
	want(t, s, "a", "1-0", leyline.Resumed, nil)
}

func testOddNonces(t *testing.T, s leyline.ReplayStore) {
	long := strings.Repeat("x", 10_000)
	nonces := []string{
		"a", "A", "aa", "a ", " a", "a\n", "a\x00", "\x00", "\x00\x00", "\xff\xfe", "é", "e\u0301",
		"a:b", "a{b}", "{a}", "a*", "0", "00", "-1", "1-0", long, long + "x", long + "y",
	}
	for i, nonce := range nonces {
		want(t, s, nonce, fmt.Sprintf("%d-0", i+1), leyline.Fresh, nil)
	}
	for i, nonce := range nonces {
		want(t, s, nonce, fmt.Sprintf("%d-0", i+1), leyline.Resumed, nil)
		want(t, s, nonce, "99-0", 0, leyline.Replayed)
	}
}

// testLaterUntil claims with a message that has the id of an older one: still
// a replay.
func testLaterUntil(t *testing.T, s leyline.ReplayStore) {
	now := time.Now()
	for i, issued := range []time.Time{now.Add(-50 * time.Second), now.Add(-20 * time.Second), now} {
		c := leyline.Claim{Nonce: "a", Holder: fmt.Sprintf("%d-0", i+1), IssuedAt: issued, Arrival: now}
		got, err := s.Claim(t.Context(), c, issued.Add(retention))
		if i == 0 {
			if got != leyline.Fresh || err != nil {
				t.Fatalf("first claim = %v, %v", got, err)
			}
			continue
		}
		if got != 0 || !errors.Is(err, leyline.Replayed) {
			t.Errorf("claim %d = %v, %v; want %v", i+1, got, err, leyline.Replayed)
		}
	}
}

func testNothingForgotten(t *testing.T, s leyline.ReplayStore) {
	const n = 10_000
	nonce := func(i int) string { return fmt.Sprintf("request-%d", i) }
	for i := range n {
		want(t, s, nonce(i), "1-0", leyline.Fresh, nil)
	}
	for i := range n {
		want(t, s, nonce(i), "2-0", 0, leyline.Replayed)
	}
}

func testConcurrentHolders(t *testing.T, s leyline.ReplayStore) {
	const goroutines, rounds = 64, 20
	for round := range rounds {
		var fresh, replayed atomic.Int64
		each(goroutines, func(g int) {
			switch v, err := claim(t.Context(), s, fmt.Sprintf("nonce-%d", round), fmt.Sprintf("%d-0", g+1)); {
			case v == leyline.Fresh && err == nil:
				fresh.Add(1)
			case v == 0 && errors.Is(err, leyline.Replayed):
				replayed.Add(1)
			default:
				t.Errorf("claim = %v, %v", v, err)
			}
		})
		if fresh.Load() != 1 || replayed.Load() != goroutines-1 {
			t.Fatalf("round %d: %d fresh, %d replayed; want 1 and %d", round, fresh.Load(), replayed.Load(), goroutines-1)
		}
	}
}

func testConcurrentRetries(t *testing.T, s leyline.ReplayStore) {
	const goroutines = 64
	var fresh, resumed atomic.Int64
	each(goroutines, func(int) {
		switch v, err := claim(t.Context(), s, "a", "1-0"); {
		case v == leyline.Fresh && err == nil:
			fresh.Add(1)
		case v == leyline.Resumed && err == nil:
			resumed.Add(1)
		default:
			t.Errorf("claim = %v, %v", v, err)
		}
	})
	if fresh.Load() != 1 || resumed.Load() != goroutines-1 {
		t.Errorf("%d fresh, %d resumed; want 1 and %d", fresh.Load(), resumed.Load(), goroutines-1)
	}
}

// testCancelled: a store may ignore the context or say that it cannot be asked.
// Whatever it says, the message was not lost and is not let through twice.
func testCancelled(t *testing.T, s leyline.ReplayStore) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	v, err := claim(ctx, s, "a", "1-0")
	if err != nil && (v != 0 || !errors.Is(err, leyline.ErrStoreUnavailable)) {
		t.Fatalf("claim = %v, %v; want %v", v, err, leyline.ErrStoreUnavailable)
	}
	if v, err = claim(t.Context(), s, "a", "1-0"); err != nil {
		t.Errorf("same holder afterwards = %v, %v", v, err)
	}
	want(t, s, "a", "2-0", 0, leyline.Replayed)
}

// each runs f in n goroutines that start together, and waits for them.
func each(n int, f func(int)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			f(i)
		})
	}
	close(start)
	wg.Wait()
}
