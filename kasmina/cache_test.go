package kasmina_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/esper-lite/esper/kasmina"
)

// forge is a runtime that makes programs of a size per blueprint.
type forge struct {
	open  atomic.Int64
	loads atomic.Int64
	sizes map[string]int64
	err   error
	delay time.Duration
}

func (f *forge) Load(_ context.Context, a kasmina.Artifact) (kasmina.Program, error) {
	f.loads.Add(1)
	time.Sleep(f.delay)
	if f.err != nil {
		return nil, f.err
	}
	f.open.Add(1)
	size, ok := f.sizes[a.BlueprintID]
	if !ok {
		size = 1
	}
	return &program{open: &f.open, size: size}, nil
}

func newCache(t testing.TB, cfg kasmina.CacheConfig) *kasmina.Cache {
	t.Helper()
	c, err := kasmina.NewCache(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func artifact(id string) kasmina.Artifact {
	return kasmina.Artifact{BlueprintID: id, Ref: "/" + id, Checksum: checksum}
}

func load(t testing.TB, c *kasmina.Cache, id string) *kasmina.Kernel {
	t.Helper()
	k, err := c.Load(t.Context(), artifact(id))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func cached(c *kasmina.Cache, id string) bool {
	k, ok := c.Lookup(id)
	if ok {
		k.Release()
	}
	return ok
}

func TestCacheEvictsLeastRecentlyUsed(t *testing.T) {
	f := &forge{}
	c := newCache(t, kasmina.CacheConfig{Runtime: f, MaxKernels: 3})
	for _, id := range []string{"a", "b", "c"} {
		load(t, c, id).Release()
	}
	if !cached(c, "a") { // used: b is now idle for longest
		t.Fatal("a is not cached")
	}
	load(t, c, "d").Release()
	for id, want := range map[string]bool{"a": true, "b": false, "c": true, "d": true} {
		if got := cached(c, id); got != want {
			t.Errorf("%s cached: %v, want %v", id, got, want)
		}
	}
	if f.open.Load() != 3 {
		t.Errorf("%d programs are open, want 3", f.open.Load())
	}
}

func TestCacheBoundsBytes(t *testing.T) {
	f := &forge{sizes: map[string]int64{"a": 40, "b": 40, "c": 30, "huge": 101}}
	c := newCache(t, kasmina.CacheConfig{Runtime: f, MaxBytes: 100})
	a := load(t, c, "a")
	load(t, c, "b").Release()
	if _, err := c.Load(t.Context(), artifact("huge")); !errors.Is(err, kasmina.ErrCacheFull) {
		t.Errorf("larger than the cache: %v", err)
	}
	if !cached(c, "b") {
		t.Error("b had to go for one that never fits")
	}
	k := load(t, c, "c") // b goes, a is in use
	if cached(c, "b") || !cached(c, "a") {
		t.Errorf("a cached: %v, b cached: %v", cached(c, "a"), cached(c, "b"))
	}
	if _, err := c.Load(t.Context(), artifact("b")); !errors.Is(err, kasmina.ErrCacheFull) {
		t.Errorf("everything in use: %v", err)
	}
	if f.open.Load() != 2 {
		t.Errorf("%d programs are open, want 2", f.open.Load())
	}
	a.Release()
	load(t, c, "b").Release()
	k.Release()
	k.Release() // does nothing
	metrics := c.AppendMetrics(nil)
	for name, want := range map[string]float64{
		"kasmina.cache.bytes": 70, "kasmina.cache.kernel_size": 2, "kasmina.cache.kernels_in_use": 0,
		"kasmina.cache.kernel_evictions": 2, "kasmina.cache.full_total": 2, "kasmina.kernel.load_errors_total": 2,
	} {
		if got := figure(t, metrics, name); got != want {
			t.Errorf("%s = %v, want %v", name, got, want)
		}
	}
}

func TestCacheSharesKernels(t *testing.T) {
	f := &forge{}
	c := newCache(t, kasmina.CacheConfig{Runtime: f})
	a, b := load(t, c, "a"), load(t, c, "a")
	if a.Program() != b.Program() || f.loads.Load() != 1 {
		t.Errorf("%d loads for two references", f.loads.Load())
	}
	third := a.Retain()
	c.Purge()
	a.Release()
	b.Release()
	if f.open.Load() != 1 {
		t.Error("program was closed while in use")
	}
	third.Release()
	if f.open.Load() != 0 {
		t.Error("program was not closed")
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("Retain of a released kernel did not panic")
			}
		}()
		third.Retain()
	}()
}

// A blueprint with another file gets another kernel; those who have the old one
// keep it.
func TestCacheReplaces(t *testing.T) {
	f := &forge{}
	c := newCache(t, kasmina.CacheConfig{Runtime: f})
	old := load(t, c, "a")
	changed := artifact("a")
	changed.Checksum = sum("other")
	k, err := c.Load(t.Context(), changed)
	if err != nil || k.Program() == old.Program() || k.Artifact() != changed {
		t.Fatalf("Load = %+v, %v", k.Artifact(), err)
	}
	k.Release()
	if got, ok := c.Lookup("a"); !ok || got.Artifact() != changed {
		t.Error("the old kernel is still given out")
	} else {
		got.Release()
	}
	old.Release()
	if f.open.Load() != 1 {
		t.Errorf("%d programs are open, want 1", f.open.Load())
	}
}

func TestCacheAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &forge{}
		c := newCache(t, kasmina.CacheConfig{Runtime: f, MaxAge: time.Minute})
		load(t, c, "a").Release()
		time.Sleep(time.Minute)
		if !cached(c, "a") {
			t.Error("gone after exactly its age")
		}
		time.Sleep(time.Nanosecond)
		if cached(c, "a") {
			t.Error("given out after its age")
		}
		load(t, c, "a").Release() // the same answer again
		if !cached(c, "a") || f.loads.Load() != 1 {
			t.Errorf("cached: %v after %d loads, want true after 1", cached(c, "a"), f.loads.Load())
		}
		c.Expire("a")
		c.Expire("unknown")
		if cached(c, "a") {
			t.Error("given out although expired")
		}
	})
}

func TestPrewarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &forge{delay: 2 * time.Millisecond}
		bad := errors.New("does not run")
		c := newCache(t, kasmina.CacheConfig{Runtime: f, Prewarm: func(_ context.Context, k *kasmina.Kernel) error {
			time.Sleep(7 * time.Millisecond)
			switch k.Artifact().BlueprintID {
			case "bad":
				return bad
			case "panics":
				panic("bug")
			}
			return nil
		}})
		k := load(t, c, "a")
		if k.LoadTime() != 2*time.Millisecond || k.PrewarmTime() != 7*time.Millisecond {
			t.Errorf("load took %v, prewarming %v", k.LoadTime(), k.PrewarmTime())
		}
		metrics := c.AppendMetrics(nil)
		if got := figure(t, metrics, "kasmina.prewarm.latency_ms"); got != 7 {
			t.Errorf("prewarm latency is %v ms", got)
		}
		if got := figure(t, metrics, "kasmina.kernel.fetch_latency_ms"); got != 2 {
			t.Errorf("fetch latency is %v ms", got)
		}
		if _, err := c.Load(t.Context(), artifact("bad")); !errors.Is(err, bad) {
			t.Error(err)
		}
		if _, err := c.Load(t.Context(), artifact("panics")); err == nil {
			t.Error("no error from a hook that panics")
		}
		if f.open.Load() != 1 {
			t.Errorf("%d programs are open, want 1", f.open.Load())
		}
	})
}

func TestFallback(t *testing.T) {
	var never atomic.Int64
	fallback := &program{open: &never}
	f := &forge{err: errors.New("disk is broken")}
	c := newCache(t, kasmina.CacheConfig{Runtime: f, Fallback: fallback})
	k, err := c.Load(t.Context(), artifact("a"))
	if err != nil || !k.Fallback() || k.Cause() != f.err || k.Program() != kasmina.Program(fallback) {
		t.Fatalf("Load = %v, %v", k, err)
	}
	k.Release()
	if never.Load() != 0 || cached(c, "a") {
		t.Errorf("fallback closed %d times, cached: %v", -never.Load(), cached(c, "a"))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Load(ctx, artifact("a")); err == nil {
		t.Error("a cancelled load gave a fallback")
	}
	broken := newCache(t, kasmina.CacheConfig{Runtime: kasmina.RuntimeFunc(func(context.Context, kasmina.Artifact) (kasmina.Program, error) {
		return nil, nil
	})})
	if _, err := broken.Load(t.Context(), artifact("a")); err == nil {
		t.Error("a runtime that returns nothing is no error")
	}
}

// At most MaxLoads at the same time; one that waits gives up with its context.
func TestMaxLoads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &forge{delay: time.Second}
		c := newCache(t, kasmina.CacheConfig{Runtime: f, MaxLoads: 2})
		start := time.Now()
		var wg sync.WaitGroup
		for i := range 6 {
			wg.Go(func() { load(t, c, fmt.Sprint(i)).Release() })
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		synctest.Wait()
		if _, err := c.Load(ctx, artifact("late")); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		wg.Wait()
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("6 loads of 1s took %v, want 3s", took)
		}
	})
}

func TestCacheConcurrent(t *testing.T) {
	f := &forge{}
	c := newCache(t, kasmina.CacheConfig{Runtime: f, MaxKernels: 4, MaxLoads: 8})
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(n), 4))
			for range 1000 {
				a := artifact(fmt.Sprint(rng.IntN(6)))
				if rng.IntN(10) == 0 {
					a.Checksum = sum(fmt.Sprint(rng.IntN(3)))
				}
				k, err := c.Load(t.Context(), a)
				if err != nil {
					if !errors.Is(err, kasmina.ErrCacheFull) {
						t.Error(err)
					}
					continue
				}
				if rng.IntN(20) == 0 {
					c.Purge()
				}
				k.Release()
			}
		})
	}
	wg.Wait()
	if n := f.open.Load(); n > 4 {
		t.Errorf("%d programs are open, at most 4 allowed", n)
	}
	c.Purge()
	if n, size := f.open.Load(), figure(t, c.AppendMetrics(nil), "kasmina.cache.bytes"); n != 0 || size != 0 {
		t.Errorf("after Purge %d programs are open, %v bytes counted", n, size)
	}
}

func TestCacheConfig(t *testing.T) {
	for _, cfg := range []kasmina.CacheConfig{{MaxBytes: -1}, {MaxKernels: -1}, {MaxLoads: -1}} {
		if _, err := kasmina.NewCache(cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
}
