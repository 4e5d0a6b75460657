package leyline

import (
	"context"
	"hash/maphash"
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

// The nonces are spread over shards, each with a lock of its own: one for so many
// of the capacity, and at least so many.
const (
	shardNonces  = 1 << 13
	fewestShards = 64
)

// MemoryStore is a [ReplayStore] in the memory of one process: it neither
// survives a restart nor is shared by replicas. It is safe for concurrent use and
// never waits for anything but its own locks. A claim takes constant time: that of
// a new nonce looks into an index of 4 bytes per nonce held, which a processor has
// in its caches up to some million nonces, and that of a known one reads main
// memory besides. It allocates only where the store grows or shrinks: then, now
// and then, a claim takes as long as it takes to move 8,000 nonces (0.1 ms), and one
// that finds the store full as long as it takes to look through all of them. Make
// one with [NewMemoryStore].
//
// # When a nonce is forgotten
//
// Time, to this store, is the Arrival of the claims it is given (now, where
// that is zero), not the wall clock: while a consumer works off a backlog,
// hours after its messages arrived, their nonces are all still needed, because
// a copy that arrived in the same minute is just as fresh. A nonce is forgotten
// some time after its until has passed in that time, at the latest when its room
// is needed, and never sooner, however full the store is.
//
// Claims need not come in the order of their arrivals. When one comes so late
// that its until lies before that of a nonce already forgotten, the store can no
// longer tell whether it saw it, and refuses the claim as [Stale]; a nonce that
// it still holds is answered as ever. That takes claims that are out of order by
// what was left of the message's freshness, plus the skew. A consumer that
// retries for longer than that calls [MemoryStore.Advance] with the arrival of
// the oldest message that it has not finished.
//
// An Arrival far ahead of the others would make the store forget at once and
// refuse what comes after: take it from a clock of your own, as [Claim] says.
//
// # Bounds
//
// A store holds at most its capacity of nonces and then returns [ErrStoreFull]
// until some have passed their until. A nonce costs 30 to 35 bytes, whatever its
// length, in a store of some size; memory grows and shrinks with the nonces, as
// claims come.
//
// Nonces are held as 96 bits of a hash with a random key: two of them are taken
// for one, and a message refused as [Replayed] by mistake, once in about 10^22
// claims against a million live nonces.
type MemoryStore struct {
	capacity int64
	live     atomic.Int64  // nonces in all tables
	full     atomic.Uint64 // claims answered with ErrStoreFull
	ceiling  atomic.Uint32 // the latest second that claims can bring about

	nonceSeed, tagSeed, holderSeed maphash.Seed

	purging  sync.Mutex // guards purgedAt
	purgedAt uint32     // second in which the full store was last purged

	shards []memoryShard // a power of two
}

// memoryShard holds the nonces whose hash leads to it, and counts the answers
// to claims of these. mu guards all of it.
type memoryShard struct {
	mu                             sync.Mutex
	table                          nonceTable
	fresh, resumed, replayed, late uint64
}

// NewMemoryStore returns an empty store for at most capacity nonces. It panics
// when capacity is not positive.
func NewMemoryStore(capacity int) *MemoryStore {
	if capacity <= 0 {
		panic("leyline: NewMemoryStore: capacity must be positive")
	}
	return newMemoryStore(capacity, max(fewestShards, capacity/shardNonces))
}

// newMemoryStore returns a store of at least so many shards.
func newMemoryStore(capacity, shards int) *MemoryStore {
	s := &MemoryStore{
		capacity:   int64(capacity),
		nonceSeed:  maphash.MakeSeed(),
		tagSeed:    maphash.MakeSeed(),
		holderSeed: maphash.MakeSeed(),
		shards:     make([]memoryShard, 1<<bits.Len(uint(shards-1))),
	}
	s.ceiling.Store(noCeiling)
	return s
}

// Claim implements [ReplayStore]. A nonce that is claimed again is kept until
// the later of both times, so that a second message with the id of the first
// stays refused for as long as it is fresh itself. The context is not used.
func (s *MemoryStore) Claim(_ context.Context, c Claim, until time.Time) (Verdict, error) {
	if c.Arrival.IsZero() {
		c.Arrival = time.Now()
	}
	now, last := min(second(c.Arrival), s.ceiling.Load()), second(until)
	verdict, err := s.claim(c.Nonce, c.Holder, last, now)
	if err == ErrStoreFull && s.purgeAll(now) {
		verdict, err = s.claim(c.Nonce, c.Holder, last, now)
	}
	if err == ErrStoreFull {
		s.full.Add(1)
	}
	return verdict, err
}

// claim is one try, in the room that there is. What is left to hash it hashes while
// the group is on its way from memory: a lock waits for every read before it.
func (s *MemoryStore) claim(name, holder string, until, now uint32) (Verdict, error) {
	key := nonce{hash: maphash.String(s.nonceSeed, name), until: until}
	shard := &s.shards[key.hash&uint64(len(s.shards)-1)]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	table := &shard.table
	table.touch(key.hash)
	key.tag = uint32(maphash.String(s.tagSeed, name))
	key.holder = s.holder(holder)
	if held := table.find(key); held != nil {
		held.until = max(held.until, key.until)
		if key.holder != 0 && held.holder == key.holder {
			shard.resumed++
			return Resumed, nil
		}
		shard.replayed++
		return 0, Replayed
	}
	if key.until <= table.horizon {
		shard.late++
		return 0, Stale
	}
	if s.live.Add(1) > s.capacity {
		s.live.Add(-1)
		return 0, ErrStoreFull
	}
	forgotten, ok := table.insert(key, now)
	if !ok {
		s.live.Add(-int64(forgotten) - 1)
		return 0, ErrStoreFull
	}
	if forgotten > 0 {
		s.live.Add(-int64(forgotten))
	}
	shard.fresh++
	return Fresh, nil
}

// purgeAll forgets what has expired in every shard, and reports whether another
// try makes sense. Of any number of claims that find the store full in one
// second only the first does the work: the others would find nothing new.
func (s *MemoryStore) purgeAll(now uint32) bool {
	s.purging.Lock()
	defer s.purging.Unlock()
	if now > s.purgedAt {
		s.purgedAt = now
		for i := range s.shards {
			shard := &s.shards[i]
			shard.mu.Lock()
			s.live.Add(-int64(shard.table.purge(now)))
			shard.mu.Unlock()
		}
	}
	return s.live.Load() < s.capacity
}

// Advance hands the forgetting to the caller: from the first call on, no nonce
// is forgotten whose until lies after the latest t given, however far the
// arrivals of the claims have come. A t before an earlier one changes nothing.
func (s *MemoryStore) Advance(t time.Time) {
	now := second(t)
	for {
		old := s.ceiling.Load()
		if old != noCeiling && now <= old || s.ceiling.CompareAndSwap(old, now) {
			return
		}
	}
}

// Len returns the number of nonces held, those included that have passed their
// until and are not swept yet.
func (s *MemoryStore) Len() int { return int(s.live.Load()) }

// Cap returns the largest number of nonces that can be held.
func (s *MemoryStore) Cap() int { return int(s.capacity) }

// AppendMetrics appends the store's figures to dst.
func (s *MemoryStore) AppendMetrics(dst []Metric) []Metric {
	var fresh, resumed, replayed, late uint64
	var bytes int
	for i := range s.shards {
		shard := &s.shards[i]
		shard.mu.Lock()
		fresh, resumed = fresh+shard.fresh, resumed+shard.resumed
		replayed, late = replayed+shard.replayed, late+shard.late
		bytes += shard.table.bytes()
		shard.mu.Unlock()
	}
	return append(dst,
		Metric{Name: "leyline.replay.nonces", Value: float64(s.Len()), Unit: UnitCount},
		Metric{Name: "leyline.replay.capacity", Value: float64(s.capacity), Unit: UnitCount},
		Metric{Name: "leyline.replay.bytes", Value: float64(bytes), Unit: UnitBytes},
		Metric{Name: "leyline.replay.fresh_total", Value: float64(fresh), Unit: UnitCount},
		Metric{Name: "leyline.replay.resumed_total", Value: float64(resumed), Unit: UnitCount},
		Metric{Name: "leyline.replay.replayed_total", Value: float64(replayed), Unit: UnitCount},
		Metric{Name: "leyline.replay.late_total", Value: float64(late), Unit: UnitCount},
		Metric{Name: "leyline.replay.full_total", Value: float64(s.full.Load()), Unit: UnitCount},
	)
}

// holder returns what stands for a holder; 0 for none.
func (s *MemoryStore) holder(name string) uint64 {
	if name == "" {
		return 0
	}
	return max(1, maphash.String(s.holderSeed, name))
}

// noCeiling is the ceiling of a store whose time follows the claims alone.
const noCeiling = math.MaxUint32

// second returns t as Unix seconds, rounded down. It ends one short of noCeiling,
// in the year 2106; a nonce with a later until is never forgotten.
func second(t time.Time) uint32 {
	return uint32(max(0, min(t.Unix(), noCeiling-1)))
}
