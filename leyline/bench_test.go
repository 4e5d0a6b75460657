package leyline_test

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/esper-lite/esper/leyline"
)

// fastest calls run, which does something n times, for as long as the benchmark
// lasts, and reports the fastest time of one beside the average.
func fastest(b *testing.B, n int, run func()) {
	var best time.Duration
	total := 0
	b.ReportAllocs()
	for b.Loop() {
		start := time.Now()
		run()
		if took := time.Since(start); best == 0 || took < best {
			best = took
		}
		total += n
	}
	b.ReportMetric(float64(b.Elapsed())/float64(total), "ns/average")
	b.ReportMetric(float64(best)/float64(n), "ns/fastest")
	b.ReportMetric(0, "ns/op")
}

// What does it cost to admit a message while as many nonces expire as come, and
// how much heap does a live one take? At most 150 ns, no allocation, and 40 bytes at
// a million, where the time is that of one read of main memory more: beside it,
// BenchmarkMemoryRead.
func BenchmarkMemoryStoreAdmit(b *testing.B) {
	for _, live := range []int{10_000, 65_000, 1_000_000} {
		b.Run(fmt.Sprintf("%d live", live), func(b *testing.B) {
			// Nonces cut out of one string, more than are remembered: the rest
			// of the caches is the store's.
			const digits = 10
			var text []byte
			for i := range 3 * live {
				text = fmt.Appendf(text, "%0*d", digits, i)
			}
			nonces := string(text)
			before := heap()
			store := leyline.NewMemoryStore(2 * live)
			guard := newGuard(b, leyline.GuardConfig{Store: store})
			i, at, ctx := 0, epoch, context.Background()
			gap := guard.Retention() / time.Duration(live)
			admit := func(n int) {
				for range n {
					c := leyline.Claim{Nonce: nonces[i : i+digits], Holder: "1758801600000-0", IssuedAt: at, Arrival: at}
					if v, err := guard.Admit(ctx, c); v != leyline.Fresh {
						b.Fatal(i, v, err)
					}
					at = at.Add(gap)
					if i += digits; i == len(nonces) {
						i = 0
					}
				}
			}
			admit(3 * live)
			batch := max(1000, live/50) // long enough for the stops that make room
			fastest(b, batch, func() { admit(batch) })
			b.ReportMetric(float64(heap()-before)/float64(live), "B/live-nonce")
			runtime.KeepAlive(store)
			runtime.KeepAlive(nonces)
		})
	}
}

// What does it cost while all cores admit? The time is that of the whole process
// for one message, at a million live.
func BenchmarkMemoryStoreAdmitParallel(b *testing.B) {
	const (
		live   = 1_000_000
		digits = 10
		block  = 1000 // messages that a goroutine takes at a time
	)
	var text []byte
	for i := range 3 * live {
		text = fmt.Appendf(text, "%0*d", digits, i)
	}
	nonces := string(text)
	guard := newGuard(b, leyline.GuardConfig{Store: leyline.NewMemoryStore(2 * live)})
	gap := guard.Retention() / live
	admit := func(first int) {
		for n := first; n < first+block; n++ {
			at, i := epoch.Add(time.Duration(n)*gap), n%(3*live)*digits
			c := leyline.Claim{Nonce: nonces[i : i+digits], Holder: "1758801600000-0", IssuedAt: at, Arrival: at}
			if v, err := guard.Admit(context.Background(), c); v != leyline.Fresh {
				b.Error(n, v, err)
			}
		}
	}
	var next atomic.Int64
	for next.Load() < 3*live {
		admit(int(next.Add(block)) - block)
	}
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for left := 0; pb.Next(); left-- {
			if left == 0 {
				left = block
				admit(int(next.Add(block)) - block)
			}
		}
	})
}

// What does a replay cost while a million nonces are live?
func BenchmarkMemoryStoreReplay(b *testing.B) {
	const live = 1_000_000
	s := leyline.NewMemoryStore(live)
	nonces := make([]string, live)
	for i := range nonces {
		nonces[i] = fmt.Sprintf("%010d", i)
		if _, err := claimAt(s, nonces[i], "1-0", epoch, 0); err != nil {
			b.Fatal(err)
		}
	}
	i := 0
	const batch = 1000
	fastest(b, batch, func() {
		for range batch {
			if _, err := claimAt(s, nonces[i%live], "2-0", epoch, 0); err != leyline.Replayed {
				b.Fatal(err)
			}
			i += 7919
		}
	})
}

// How much heap does a live nonce take? At most 40 bytes at 1,000,000.
func BenchmarkMemoryStoreHeap(b *testing.B) {
	for b.Loop() {
		b.ReportMetric(heapPerNonce(1_000_000), "B/live-nonce")
	}
	b.ReportMetric(0, "ns/op")
}

// What does one read of main memory cost on this machine, in a table as large as
// that of a million nonces?
func BenchmarkMemoryRead(b *testing.B) {
	table := make([]uint64, 36_000_000/8)
	for i := range table {
		table[i] = uint64(i) * 0x9e3779b97f4a7c15
	}
	var at, i uint64
	const batch = 1000
	fastest(b, batch, func() {
		for range batch {
			i++ // or else the reads would soon go in a circle
			at = table[(at+i)*6364136223846793005>>20%uint64(len(table))]
		}
	})
	if at == 1 {
		b.Log("unlikely") // keeps the reads
	}
}
