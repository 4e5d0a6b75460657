package leyline_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/esper-lite/esper/leyline"
	"github.com/esper-lite/esper/leyline/leylinetest"
)

func TestMemoryStore(t *testing.T) {
	leylinetest.TestReplayStore(t, func(*testing.T) leyline.ReplayStore {
		return leyline.NewMemoryStore(20_000)
	})
}

var epoch = time.Unix(1758801600, 0)

// claimAt claims a nonce by a message issued at an age before its arrival.
func claimAt(s leyline.ReplayStore, nonce, holder string, arrival time.Time, age time.Duration) (leyline.Verdict, error) {
	issued := arrival.Add(-age)
	return s.Claim(context.Background(),
		leyline.Claim{Nonce: nonce, Holder: holder, IssuedAt: issued, Arrival: arrival},
		issued.Add(leyline.DefaultWindow+leyline.DefaultClockSkew))
}

func metric(t testing.TB, source interface {
	AppendMetrics([]leyline.Metric) []leyline.Metric
}, name string) float64 {
	t.Helper()
	for _, m := range source.AppendMetrics(nil) {
		if m.Name == name {
			return m.Value
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// A full store never makes room by forgetting what is live, and has room again
// once time has passed.
func TestMemoryStoreFull(t *testing.T) {
	const capacity = 1000
	s := leyline.NewMemoryStore(capacity)
	for i := range capacity {
		if _, err := claimAt(s, strconv.Itoa(i), "1-0", epoch, 0); err != nil {
			t.Fatalf("claim %d of %d: %v", i, capacity, err)
		}
	}
	for i := range 5000 {
		v, err := claimAt(s, "more-"+strconv.Itoa(i), "1-0", epoch.Add(time.Minute), 0)
		if v != 0 || err != leyline.ErrStoreFull {
			t.Fatalf("claim over capacity = %v, %v", v, err)
		}
	}
	for i := range capacity {
		if _, err := claimAt(s, strconv.Itoa(i), "2-0", epoch.Add(time.Minute), time.Minute); err != leyline.Replayed {
			t.Fatalf("nonce %d forgotten: %v", i, err)
		}
		if v, err := claimAt(s, strconv.Itoa(i), "1-0", epoch.Add(time.Minute), time.Minute); v != leyline.Resumed {
			t.Fatalf("nonce %d: its holder gets %v, %v", i, v, err)
		}
	}
	if got := metric(t, s, "leyline.replay.full_total"); got != 5000 {
		t.Errorf("full_total = %v, want 5000", got)
	}
	later := epoch.Add(67 * time.Second)
	for i := range capacity {
		if v, err := claimAt(s, "later-"+strconv.Itoa(i), "1-0", later, 0); v != leyline.Fresh {
			t.Fatalf("after the retention, claim %d = %v, %v", i, v, err)
		}
	}
	if s.Len() != capacity || s.Cap() != capacity {
		t.Errorf("Len, Cap = %d, %d, want both %d", s.Len(), s.Cap(), capacity)
	}
}

// Time is the claims' arrival: a backlog that is worked off hours later is
// judged as it would have been then.
func TestMemoryStoreBacklog(t *testing.T) {
	s := leyline.NewMemoryStore(1 << 20)
	for i := range 200_000 {
		arrival := epoch.Add(time.Duration(i) * time.Millisecond)
		if v, err := claimAt(s, strconv.Itoa(i), "a", arrival, 0); v != leyline.Fresh {
			t.Fatalf("message %d of the backlog = %v, %v", i, v, err)
		}
		if i >= 1000 && i%97 == 0 { // a copy, added while the message was fresh
			old := i - rand.IntN(min(i, 60_000))
			if v, err := claimAt(s, strconv.Itoa(old), "b", arrival, arrival.Sub(epoch.Add(time.Duration(old)*time.Millisecond))); err != leyline.Replayed {
				t.Fatalf("copy of message %d after message %d = %v, %v", old, i, v, err)
			}
		}
	}
	// 66 s of traffic are live; what is not swept yet may come on top.
	if n := s.Len(); n < 65_000 || n > 90_000 {
		t.Errorf("Len = %d after 200,000 messages at 1000/s", n)
	}
}

// A copy that turns up after its nonce was forgotten is refused, whatever its
// arrival: an entry that somebody held back, or a back-dated one.
func TestMemoryStoreLateClaim(t *testing.T) {
	s := leyline.NewMemoryStore(1 << 20)
	if v, err := claimAt(s, "old", "a", epoch, 0); v != leyline.Fresh {
		t.Fatal(v, err)
	}
	for i := range 20_000 {
		if _, err := claimAt(s, strconv.Itoa(i), "a", epoch.Add(time.Duration(i)*10*time.Millisecond), 0); err != nil {
			t.Fatal(i, err)
		}
	}
	for _, age := range []time.Duration{0, time.Second, time.Minute} {
		if v, err := claimAt(s, "old", "b", epoch.Add(age), age); v != 0 || !errors.Is(err, leyline.Stale) && !errors.Is(err, leyline.Replayed) {
			t.Errorf("copy that arrived after %v = %v, %v; want a refusal", age, v, err)
		}
	}
}

// A store that is told how far its consumer is forgets nothing beyond.
func TestMemoryStoreAdvance(t *testing.T) {
	s := leyline.NewMemoryStore(57_000)
	s.Advance(epoch)
	claimAll := func(from, to int) {
		t.Helper()
		for i := from; i < to; i++ {
			if _, err := claimAt(s, strconv.Itoa(i), "a", epoch.Add(time.Duration(i)*10*time.Millisecond), 0); err != nil {
				t.Fatal(i, err)
			}
		}
	}
	claimAll(0, 50_000) // 500 s
	s.Advance(epoch.Add(-time.Hour))
	for i := range 50_000 {
		arrival := epoch.Add(time.Duration(i) * 10 * time.Millisecond)
		if v, err := claimAt(s, strconv.Itoa(i), "a", arrival, 0); v != leyline.Resumed {
			t.Fatalf("retry of %d = %v, %v", i, v, err)
		}
		if _, err := claimAt(s, strconv.Itoa(i), "b", arrival, 0); err != leyline.Replayed {
			t.Fatalf("copy of %d: %v", i, err)
		}
	}
	for i := 50_000; i < 100_000; i += 1000 {
		s.Advance(epoch.Add(time.Duration(i) * 10 * time.Millisecond))
		claimAll(i, i+1000)
	}
	s.Advance(epoch) // back: no effect, what may be forgotten makes room
	for i := range s.Cap() {
		if _, err := claimAt(s, "more-"+strconv.Itoa(i), "a", epoch.Add(2000*time.Second), 0); err != nil {
			if i < s.Cap()-7500 { // 65 s are live, and 10 s were not advanced
				t.Errorf("full after %d more messages", i)
			}
			break
		}
	}
	if v, err := claimAt(s, "0", "b", epoch, 0); v != 0 || err == nil {
		t.Errorf("copy of a forgotten message = %v, %v", v, err)
	}
}

// However many came and went, what is live is known, and nothing else is.
func TestMemoryStoreManyClaims(t *testing.T) {
	if raceEnabled {
		t.Skip("six million claims")
	}
	const perSecond = 1000
	s := leyline.NewMemoryStore(100 * perSecond)
	rng := rand.New(rand.NewPCG(5, 6))
	arrival := func(i int) time.Time { return epoch.Add(time.Duration(i) * time.Second / perSecond) }
	for i := range 6_000_000 {
		if v, err := claimAt(s, strconv.Itoa(i), "a", arrival(i), 0); v != leyline.Fresh {
			t.Fatalf("claim %d = %v, %v", i, v, err)
		}
		if i%8 > 0 {
			continue
		}
		old := i - rng.IntN(min(i+1, 65*perSecond))
		if v, err := claimAt(s, strconv.Itoa(old), "b", arrival(i), arrival(i).Sub(arrival(old))); err != leyline.Replayed {
			t.Fatalf("copy of %d after %d = %v, %v", old, i, v, err)
		}
	}
	if n := s.Len(); n > 70*perSecond {
		t.Errorf("Len = %d with 66 s of %d/s", n, perSecond)
	}
}

// A shard holds at most so many nonces, which chance alone does not bring about,
// and then refuses, too.
func TestMemoryStoreShardFull(t *testing.T) {
	const most = 1 << 15
	s := leyline.NewMemoryStoreOfShards(2*most, 1)
	for i := range most {
		if v, err := claimAt(s, strconv.Itoa(i), "a", epoch, 0); v != leyline.Fresh {
			t.Fatal(i, v, err)
		}
	}
	if v, err := claimAt(s, "more", "a", epoch, 0); v != 0 || err != leyline.ErrStoreFull {
		t.Errorf("claim over what a shard holds = %v, %v", v, err)
	}
	for i := range most {
		if _, err := claimAt(s, strconv.Itoa(i), "b", epoch, 0); err != leyline.Replayed {
			t.Fatalf("copy of %d: %v", i, err)
		}
	}
	if s.Len() != most {
		t.Errorf("Len = %d, want %d", s.Len(), most)
	}
	if v, err := claimAt(s, "more", "a", epoch.Add(66*time.Second), 0); v != leyline.Fresh || s.Len() != 1 {
		t.Errorf("once they have expired = %v, %v; Len = %d", v, err, s.Len())
	}
}

// Nor is anything lost in a shard that is so full that positions come round soon.
func TestMemoryStoreShardNearlyFull(t *testing.T) {
	const live = 32_000
	s := leyline.NewMemoryStoreOfShards(2*live, 1)
	arrival := func(i int) time.Time { return epoch.Add(time.Duration(i) * 66 * time.Second / live) }
	for i := range 4 * live {
		at := arrival(i)
		if v, err := claimAt(s, strconv.Itoa(i), "a", at, 0); v != leyline.Fresh {
			t.Fatalf("claim %d = %v, %v", i, v, err)
		}
		old := i - i*7919%min(i+1, live*64/66)
		if v, err := claimAt(s, strconv.Itoa(old), "b", at, at.Sub(arrival(old))); err != leyline.Replayed {
			t.Fatalf("copy of %d after %d = %v, %v", old, i, v, err)
		}
	}
}

// The same model as the store's contract, in a map, decides the same.
func TestMemoryStoreAgainstModel(t *testing.T) {
	type held struct {
		holder string
		until  time.Time
	}
	s := leyline.NewMemoryStore(1 << 16)
	model := make(map[string]held)
	rng := rand.New(rand.NewPCG(1, 2))
	now := epoch
	for i := range 300_000 {
		now = now.Add(time.Duration(rng.IntN(20)) * time.Millisecond)
		nonce, holder := strconv.Itoa(rng.IntN(20_000)), strconv.Itoa(rng.IntN(3))
		if holder == "0" {
			holder = ""
		}
		age := time.Duration(rng.IntN(65_000)) * time.Millisecond
		until := now.Add(65*time.Second - age)
		h, known := model[nonce]
		live := known && !now.After(h.until)
		v, err := claimAt(s, nonce, holder, now, age)
		switch {
		case live && holder != "" && h.holder == holder:
			if v != leyline.Resumed || err != nil {
				t.Fatalf("step %d: %v, %v; want resumed", i, v, err)
			}
		case live:
			if v != 0 || err != leyline.Replayed {
				t.Fatalf("step %d: %v, %v; want replayed", i, v, err)
			}
		case err == nil && v == leyline.Fresh:
			model[nonce] = held{holder, until}
			continue
		case known && (v == leyline.Resumed || err == leyline.Replayed):
			// Expired, not swept yet.
		default:
			t.Fatalf("step %d: %v, %v for a nonce that is not live", i, v, err)
		}
		if h.until.Before(until) {
			h.until = until
		}
		model[nonce] = h
	}
}

// Whatever order claims come in, a nonce passes once.
func TestMemoryStoreNeverTwice(t *testing.T) {
	s := leyline.NewMemoryStore(1 << 16)
	rng := rand.New(rand.NewPCG(3, 4))
	passed := make(map[string]bool)
	for i := range 200_000 {
		// Message n was issued n seconds after the epoch, once.
		n := rng.IntN(3000)
		nonce := strconv.Itoa(n) + "/" + strconv.Itoa(rng.IntN(20))
		age := time.Duration(rng.IntN(65)) * time.Second
		v, err := claimAt(s, nonce, "", epoch.Add(time.Duration(n)*time.Second+age), age)
		if v == leyline.Fresh {
			if passed[nonce] {
				t.Fatalf("step %d: %s passed twice", i, nonce)
			}
			passed[nonce] = true
		} else if err == nil {
			t.Fatalf("step %d: %v without an error", i, v)
		}
	}
	if len(passed) < 100 {
		t.Errorf("only %d messages passed", len(passed))
	}
}

func TestMemoryStoreConcurrentCapacity(t *testing.T) {
	const capacity = 5000
	s := leyline.NewMemoryStore(capacity)
	var fresh, full atomic.Int64
	var wg sync.WaitGroup
	for g := range 64 {
		wg.Go(func() {
			for i := range 500 {
				switch v, err := claimAt(s, fmt.Sprint(g, "/", i), "a", epoch, 0); {
				case v == leyline.Fresh:
					fresh.Add(1)
				case err == leyline.ErrStoreFull:
					full.Add(1)
				default:
					t.Errorf("%v, %v", v, err)
				}
			}
		})
	}
	wg.Wait()
	if fresh.Load() != capacity || full.Load() != 64*500-capacity || s.Len() != capacity {
		t.Errorf("fresh %d, full %d, Len %d; capacity %d", fresh.Load(), full.Load(), s.Len(), capacity)
	}
}

func TestMemoryStoreTimesOutOfRange(t *testing.T) {
	s := leyline.NewMemoryStore(100)
	far := time.Unix(math.MaxInt64/2, 0)
	ctx := t.Context()
	if v, err := s.Claim(ctx, leyline.Claim{Nonce: "far", Arrival: far}, far); v != leyline.Fresh {
		t.Errorf("until in the far future = %v, %v", v, err)
	}
	if v, err := s.Claim(ctx, leyline.Claim{Nonce: "far", Arrival: far}, far); err != leyline.Replayed {
		t.Errorf("again = %v, %v", v, err)
	}
	for _, until := range []time.Time{{}, time.Unix(0, 0), time.Unix(-5, 0), time.Unix(math.MinInt64/2, 0)} {
		if v, err := s.Claim(ctx, leyline.Claim{Nonce: "past", Arrival: until}, until); v != 0 || err != leyline.Stale {
			t.Errorf("until %v = %v, %v; want %v", until, v, err, leyline.Stale)
		}
	}
}

// After the year 2106 the store forgets nothing new, but still what came before.
func TestMemoryStoreAfter2106(t *testing.T) {
	s := leyline.NewMemoryStore(1)
	if v, err := claimAt(s, "a", "", time.Unix(math.MaxUint32-1000, 0), 0); v != leyline.Fresh {
		t.Fatal(v, err)
	}
	for _, want := range []error{nil, leyline.Replayed} {
		if _, err := claimAt(s, "b", "", time.Unix(math.MaxUint32+5, 0), 0); err != want {
			t.Errorf("claim after 2106: %v, want %v", err, want)
		}
	}
	if _, err := claimAt(s, "c", "", time.Unix(math.MaxUint32+1000, 0), 0); err != leyline.ErrStoreFull {
		t.Errorf("claim later: %v, want %v", err, leyline.ErrStoreFull)
	}
}

func TestNewMemoryStorePanics(t *testing.T) {
	for _, capacity := range []int{0, -1} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("NewMemoryStore(%d) did not panic", capacity)
				}
			}()
			leyline.NewMemoryStore(capacity)
		}()
	}
}

// heap returns the bytes of heap that are in use.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// heapPerNonce returns how much the heap grew by n nonces.
func heapPerNonce(n int) float64 {
	before := heap()
	s := leyline.NewMemoryStore(n)
	var buf []byte
	for i := range n {
		buf = strconv.AppendInt(append(buf[:0], "request-"...), int64(i), 10)
		if _, err := claimAt(s, string(buf), "1758801600000-0", epoch, 0); err != nil {
			panic(err)
		}
	}
	after := heap()
	runtime.KeepAlive(s)
	return float64(after-before) / float64(n)
}

func TestMemoryStoreHeap(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector needs memory of its own")
	}
	for _, n := range []int{900_000, 1_000_000} {
		if got := heapPerNonce(n); got > 40 {
			t.Errorf("%d live nonces: %.1f bytes each, want at most 40", n, got)
		}
	}
}

// However fast nonces come and go, a live one takes at most 40 bytes, and after a
// flood its memory goes too.
func TestMemoryStoreSize(t *testing.T) {
	if raceEnabled {
		t.Skip("two million claims")
	}
	s := leyline.NewMemoryStore(1 << 20)
	at, n := epoch, 0
	for _, perSecond := range []int{5000, 4000, 4500, 3000, 1500} {
		for range 100 * perSecond {
			at = at.Add(time.Second / time.Duration(perSecond))
			n++
			if _, err := claimAt(s, strconv.Itoa(n), "a", at, 0); err != nil {
				t.Fatal(n, err)
			}
		}
		live := 66 * perSecond
		if got := metric(t, s, "leyline.replay.bytes") / float64(live); got > 40.5 {
			t.Errorf("%d live nonces take %.1f bytes each", live, got)
		}
		if got := s.Len(); got < 65*perSecond || got > live*11/10 {
			t.Errorf("Len = %d with %d live nonces", got, live)
		}
	}
}

func TestAdmitAllocates(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector changes allocations")
	}
	guard, err := leyline.NewGuard(leyline.GuardConfig{Store: leyline.NewMemoryStore(1 << 20)})
	if err != nil {
		t.Fatal(err)
	}
	nonces := make([]string, 200_001)
	for i := range nonces {
		nonces[i] = "request-" + strconv.Itoa(i)
	}
	i, now := 0, time.Now()
	if got := testing.AllocsPerRun(len(nonces)-1, func() {
		v, err := guard.Admit(t.Context(), leyline.Claim{Nonce: nonces[i], Holder: "1-0", IssuedAt: now})
		if v != leyline.Fresh {
			t.Fatal(v, err)
		}
		i++
	}); got != 0 {
		t.Errorf("Admit of a new message allocates %v times", got)
	}
	if got := testing.AllocsPerRun(1000, func() {
		if _, err := guard.Admit(t.Context(), leyline.Claim{Nonce: nonces[0], Holder: "2-0", IssuedAt: now}); err != leyline.Replayed {
			t.Fatal(err)
		}
	}); got != 0 {
		t.Errorf("Admit of a replay allocates %v times", got)
	}
}
