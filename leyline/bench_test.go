package leyline_test

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/esper-lite/esper/leyline"
)

// What does it cost to admit a message, with a million other nonces live and
// as many expiring as coming? At most 150 ns and no allocation.
func BenchmarkMemoryStoreAdmit(b *testing.B) {
	const live, perSecond = 1_000_000, 1_000_000 / 65
	guard, err := leyline.NewGuard(leyline.GuardConfig{Store: leyline.NewMemoryStore(2 * live)})
	if err != nil {
		b.Fatal(err)
	}
	const digits = 10 // per nonce, cut out of one string: the rest of the cache is the store's
	var text []byte
	for i := range 4 * live { // more than is remembered
		text = fmt.Appendf(text, "%0*d", digits, i)
	}
	ring := string(text)
	i, at, ctx := 0, epoch, context.Background()
	admit := func() {
		c := leyline.Claim{Nonce: ring[i : i+digits], Holder: "1758801600000-0", IssuedAt: at, Arrival: at}
		if v, err := guard.Admit(ctx, c); v != leyline.Fresh {
			b.Fatal(i, v, err)
		}
		at = at.Add(time.Second / perSecond)
		if i += digits; i == len(ring) {
			i = 0
		}
	}
	for range 3 * live {
		admit()
	}
	b.ReportAllocs()
	for b.Loop() {
		admit()
	}
}

// What does a replay cost that comes while a million nonces are live?
func BenchmarkMemoryStoreReplay(b *testing.B) {
	const live = 1_000_000
	s := leyline.NewMemoryStore(live)
	nonces := make([]string, live)
	for i := range nonces {
		nonces[i] = "request-" + strconv.Itoa(i)
		if _, err := claimAt(s, nonces[i], "1-0", epoch, 0); err != nil {
			b.Fatal(err)
		}
	}
	i := 0
	for b.Loop() {
		if _, err := claimAt(s, nonces[i%live], "2-0", epoch, 0); err != leyline.Replayed {
			b.Fatal(err)
		}
		i += 7919
	}
}

// How much heap does a live nonce take? At most 40 bytes at 1,000,000.
func BenchmarkMemoryStoreHeap(b *testing.B) {
	for b.Loop() {
		b.ReportMetric(heapPerNonce(1_000_000), "B/nonce")
	}
}
