package kasmina

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Defaults of [CacheConfig].
const (
	DefaultCacheBytes   = 1 << 30
	DefaultCacheKernels = 256
	DefaultMaxLoads     = 2
	DefaultMaxAge       = 5 * time.Minute
)

// ErrCacheFull: the kernels in use leave no room for one more.
var ErrCacheFull = errors.New("kasmina: kernel cache is full of kernels in use")

// CacheConfig configures a [Cache].
type CacheConfig struct {
	// Runtime loads artifacts. Nil means a [FileRuntime] with its defaults.
	Runtime Runtime
	// MaxBytes and MaxKernels bound what is loaded, in use or not, by the sizes
	// that the programs report. At the bound the kernels go that have been idle
	// for longest; when all are in use, Load fails with [ErrCacheFull]. Zero
	// means [DefaultCacheBytes] and [DefaultCacheKernels].
	MaxBytes   int64
	MaxKernels int
	// MaxLoads is how many kernels are loaded at the same time, further ones
	// wait. What is being loaded comes on top of MaxBytes. Zero means
	// [DefaultMaxLoads].
	MaxLoads int
	// MaxAge is how long an answer about a blueprint holds: for so long its
	// kernel is given out without asking again. One that is asked for again and
	// has not changed is not loaded again. Zero means [DefaultMaxAge]; to ask
	// always, set it negative.
	MaxAge time.Duration
	// Prewarm is called with every kernel that was loaded, before anybody gets
	// it, and timed. Its error counts as the load's. Nil does nothing.
	Prewarm func(ctx context.Context, k *Kernel) error
	// Fallback is given out in place of a kernel that cannot be loaded or
	// prewarmed. It is the embedder's, and never closed. Nil means that the
	// load fails.
	Fallback Program
	// Logger receives what an operator must know. Nil discards.
	Logger *slog.Logger
}

func (c CacheConfig) withDefaults() (CacheConfig, error) {
	if c.MaxBytes < 0 || c.MaxKernels < 0 || c.MaxLoads < 0 {
		return c, errors.New("kasmina: CacheConfig with a negative bound")
	}
	if c.Runtime == nil {
		c.Runtime = FileRuntime{}
	}
	c.MaxBytes = cmp.Or(c.MaxBytes, DefaultCacheBytes)
	c.MaxKernels = cmp.Or(c.MaxKernels, DefaultCacheKernels)
	c.MaxLoads = cmp.Or(c.MaxLoads, DefaultMaxLoads)
	c.MaxAge = cmp.Or(c.MaxAge, DefaultMaxAge)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// Cache loads kernels and keeps those that nobody uses at the moment, the least
// recently used going first. It is safe for concurrent use.
type Cache struct {
	cfg   CacheConfig
	loads chan struct{} // holds one token per load under way

	// mu guards what follows, and of every shared kernel: current (it is the
	// one given out for its blueprint), counted (it is in kernels and bytes),
	// vouched (when an answer last named it) and idleness (its place in idle,
	// while it is current and has no references).
	mu      sync.Mutex
	byName  map[string]*shared
	idle    *list.List // the longest idle first
	kernels int
	bytes   int64
	counts  cacheCounts
}

// NewCache returns an empty cache, or an error that says what is wrong with cfg.
func NewCache(cfg CacheConfig) (*Cache, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Cache{
		cfg:    cfg,
		loads:  make(chan struct{}, cfg.MaxLoads),
		byName: make(map[string]*shared),
		idle:   list.New(),
	}, nil
}

// Lookup returns a reference to the kernel of a blueprint, if it is loaded and
// was answered no longer ago than CacheConfig.MaxAge.
func (c *Cache) Lookup(blueprintID string) (*Kernel, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.byName[blueprintID]
	if s == nil || time.Since(s.vouched) > c.cfg.MaxAge {
		c.counts.misses++
		return nil, false
	}
	c.counts.hits++
	return c.referLocked(s), true
}

// Load returns a reference to the kernel of an artifact: the one that is loaded
// already, if it was made of the same file, and otherwise a new one. Its errors
// are those of the runtime and of the prewarm hook, unless there is a fallback,
// [ErrCacheFull], and ctx's.
func (c *Cache) Load(ctx context.Context, a Artifact) (*Kernel, error) {
	if k := c.reuse(a); k != nil {
		return k, nil
	}
	select {
	case c.loads <- struct{}{}:
		defer func() { <-c.loads }()
	case <-ctx.Done():
		return nil, fmt.Errorf("kasmina: load: %w", context.Cause(ctx))
	}
	k, err := c.load(ctx, a)
	switch {
	case err == nil:
		return k, nil
	case ctx.Err() != nil || c.cfg.Fallback == nil:
		return nil, err
	}
	c.cfg.Logger.WarnContext(ctx, "kernel not loaded, fallback in its place", "blueprint_id", a.BlueprintID, "error", err)
	return newReference(&shared{artifact: a, program: c.cfg.Fallback, cause: err}), nil
}

func (c *Cache) reuse(a Artifact) *Kernel {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.byName[a.BlueprintID]
	if s == nil || a.Checksum == "" || s.artifact.Checksum != a.Checksum || s.artifact.Ref != a.Ref {
		return nil
	}
	c.counts.reused++
	s.vouched = time.Now()
	return c.referLocked(s)
}

// load loads, prewarms and admits a kernel.
func (c *Cache) load(ctx context.Context, a Artifact) (k *Kernel, err error) {
	s := &shared{artifact: a, cache: c}
	start := time.Now()
	s.program, err = c.run(ctx, a)
	s.loadTime = time.Since(start)
	if err != nil {
		c.countLoad(s, err)
		return nil, err
	}
	k = newReference(s)
	if c.cfg.Prewarm != nil {
		start = time.Now()
		err = c.prewarm(ctx, k)
		s.prewarmTime = time.Since(start)
	}
	if err == nil {
		err = c.admit(s)
	}
	c.countLoad(s, err)
	if err != nil {
		k.Release()
		return nil, err
	}
	return k, nil
}

// run calls the runtime. Neither it nor the hook may take the process down.
func (c *Cache) run(ctx context.Context, a Artifact) (p Program, err error) {
	defer recoverAs(&err, "runtime")
	p, err = c.cfg.Runtime.Load(ctx, a)
	if err == nil && p == nil {
		err = errNoProgram
	}
	return p, err
}

func (c *Cache) prewarm(ctx context.Context, k *Kernel) (err error) {
	defer recoverAs(&err, "prewarm hook")
	return c.cfg.Prewarm(ctx, k)
}

func recoverAs(err *error, who string) {
	if v := recover(); v != nil {
		*err = fmt.Errorf("kasmina: %s panicked: %v", who, v)
	}
}

// admit makes a kernel the one that is given out for its blueprint.
func (c *Cache) admit(s *shared) error {
	c.mu.Lock()
	var closing []*shared
	if old := c.byName[s.artifact.BlueprintID]; old != nil {
		closing = c.dismissLocked(old)
	}
	evicted, err := c.makeRoomLocked(s.program.Size())
	closing = append(closing, evicted...)
	if err == nil {
		c.byName[s.artifact.BlueprintID] = s
		s.current, s.counted, s.vouched = true, true, time.Now()
		c.kernels++
		c.bytes += s.program.Size()
	}
	c.mu.Unlock()
	closeAll(closing)
	return err
}

// makeRoomLocked evicts idle kernels until one of the given size fits, and none
// for one that never will.
func (c *Cache) makeRoomLocked(size int64) (closing []*shared, err error) {
	for c.kernels+1 > c.cfg.MaxKernels || c.bytes+size > c.cfg.MaxBytes {
		oldest := c.idle.Front()
		if oldest == nil || size > c.cfg.MaxBytes {
			c.counts.full++
			return closing, fmt.Errorf("%w: %d kernels, %d of %d bytes, %d more wanted", ErrCacheFull, c.kernels, c.bytes, c.cfg.MaxBytes, size)
		}
		c.counts.evictions++
		closing = append(closing, c.dismissLocked(oldest.Value.(*shared))...)
	}
	return closing, nil
}

// dismissLocked stops giving a kernel out. It is returned if it is to be closed,
// that is, if nobody uses it.
func (c *Cache) dismissLocked(s *shared) []*shared {
	if s.current {
		s.current = false
		delete(c.byName, s.artifact.BlueprintID)
	}
	if s.idleness == nil {
		return nil
	}
	c.idle.Remove(s.idleness)
	s.idleness = nil
	c.uncountLocked(s)
	return []*shared{s}
}

func (c *Cache) uncountLocked(s *shared) {
	if s.counted {
		s.counted = false
		c.kernels--
		c.bytes -= s.program.Size()
	}
}

func (c *Cache) referLocked(s *shared) *Kernel {
	if s.idleness != nil {
		c.idle.Remove(s.idleness)
		s.idleness = nil
	}
	return newReference(s)
}

// release gives a reference back.
func (c *Cache) release(s *shared) {
	c.mu.Lock()
	last := s.refs.Add(-1) == 0
	if last && s.current {
		s.idleness = c.idle.PushBack(s)
		last = false
	}
	if last {
		c.uncountLocked(s)
	}
	c.mu.Unlock()
	if last {
		closeAll([]*shared{s})
	}
}

// Expire makes the next request for a blueprint ask again. The kernel stays, and
// is not loaded again if the answer names the same file.
func (c *Cache) Expire(blueprintID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.byName[blueprintID]; s != nil {
		s.vouched = time.Time{}
	}
}

// Purge closes every kernel that nobody uses. Those in use are closed when they
// are released.
func (c *Cache) Purge() {
	c.mu.Lock()
	var closing []*shared
	for _, s := range c.byName {
		closing = append(closing, c.dismissLocked(s)...)
	}
	c.mu.Unlock()
	closeAll(closing)
}

func closeAll(kernels []*shared) {
	for _, s := range kernels {
		_ = s.program.Close() // it is gone for us either way
	}
}
