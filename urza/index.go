package urza

import (
	"sync"
	"sync/atomic"
	"time"
)

// index holds one item per row. Reads from the catalogue and own writes reach
// it in any order; tickets keep an older state from replacing a newer one. A
// read takes its ticket before it starts, a write after it is committed, so a
// read that may have missed a write has the smaller one.
type index struct {
	clock atomic.Uint64 // the last ticket

	mu    sync.RWMutex // guards what follows
	items map[string]*item
	gone  map[string]deletion
}

// item is one row as the index knows it. Only ticket changes after the item
// was put, and what is atomic.
type item struct {
	entry       Entry
	fingerprint uint64
	ticket      uint64 // guarded by index.mu

	proof    atomic.Pointer[proof]
	looked   atomic.Int64           // Unix nanoseconds of the last look at the file for AnswerKnown
	reported atomic.Int64           // Unix nanoseconds of the last integrity event
	digest   atomic.Pointer[string] // see guardDigest
}

// deletion remembers a row that this library deleted, against reads that were
// under way then.
type deletion struct {
	ticket uint64
	when   time.Time
}

// maxRead is longer than any read from the catalogue takes.
const maxRead = time.Minute

// proof says which file was hashed and what came out.
type proof struct {
	name  string // relative to the root; empty where links were followed to it
	id    identity
	sum   string    // hex SHA-256
	start time.Time // when hashing began
}

func (x *index) ticket() uint64 { return x.clock.Add(1) }

// get returns the item of a blueprint, or nil.
func (x *index) get(blueprintID string) *item {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.items[blueprintID]
}

func (x *index) len() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.items)
}

// all returns every item, in no order.
func (x *index) all() []*item {
	x.mu.RLock()
	defer x.mu.RUnlock()
	items := make([]*item, 0, len(x.items))
	for _, it := range x.items {
		items = append(items, it)
	}
	return items
}

// put stores rows that were read or written under ticket. A row that did not
// change keeps its item, and with it the proof of its file.
func (x *index) put(ticket uint64, rows ...Row) {
	var reader entryReader
	fresh := make([]*item, len(rows))
	for i := range rows {
		fingerprint := rows[i].fingerprint()
		if old := x.get(rows[i].BlueprintID); old == nil || old.fingerprint != fingerprint {
			fresh[i] = &item{entry: reader.read(&rows[i]), fingerprint: fingerprint}
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for i := range rows {
		x.putLocked(ticket, &rows[i], fresh[i])
	}
}

// putLocked takes nil for a row that had not changed a moment ago.
func (x *index) putLocked(ticket uint64, row *Row, now *item) {
	old := x.items[row.BlueprintID]
	switch {
	case old != nil && old.ticket > ticket, x.gone[row.BlueprintID].ticket > ticket:
		return
	case now == nil && old != nil && old.fingerprint == row.fingerprint():
		old.ticket = ticket
		return
	case now == nil: // it was replaced or dropped in that moment
		now = &item{entry: new(entryReader).read(row), fingerprint: row.fingerprint()}
	}
	now.ticket = ticket
	if old != nil && old.entry.ArtifactPath == now.entry.ArtifactPath {
		now.proof.Store(old.proof.Load())
	}
	if x.items == nil {
		x.items = map[string]*item{}
	}
	x.items[now.entry.BlueprintID] = now
}

// drop notes that a read under ticket found no row.
func (x *index) drop(ticket uint64, blueprintID string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if old := x.items[blueprintID]; old != nil && old.ticket < ticket {
		delete(x.items, blueprintID)
	}
}

// remove notes that this library deleted a row, under a ticket taken since.
func (x *index) remove(ticket uint64, blueprintID string) {
	x.drop(ticket, blueprintID)
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.gone == nil {
		x.gone = map[string]deletion{}
	}
	x.gone[blueprintID] = deletion{ticket, time.Now()}
}

// forget lets go of deletions that no read can be older than.
func (x *index) forget(now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for id, d := range x.gone {
		if now.Sub(d.when) > maxRead {
			delete(x.gone, id)
		}
	}
}

// sweep drops what a full scan that began with ticket has not come across.
func (x *index) sweep(ticket uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for id, it := range x.items {
		if it.ticket < ticket {
			delete(x.items, id)
		}
	}
}
