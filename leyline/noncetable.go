package leyline

import "math/bits"

// nonce is one entry of a [nonceTable]: 24 bytes, no pointers, so that the
// garbage collector never looks at a million of them.
type nonce struct {
	hash   uint64 // of the nonce, says where it belongs
	holder uint64 // hash of who claimed it; 0 for nobody
	tag    uint32 // second hash of the nonce, makes 96 bits
	until  uint32 // Unix second after which it may be forgotten; 0 marks a free slot
}

// nonceTable is a hash table with linear probing. Its size is no power of two,
// so that it can grow by a third at a time: it is never less than 0.6 full, which
// makes at most 24 / 0.6 = 40 bytes per nonce. It is not safe for concurrent use.
type nonceTable struct {
	slots   []nonce
	used    int
	cursor  int    // where sweepSome goes on
	claims  uint32 // calls of sweepSome
	horizon uint32 // latest until among what was forgotten
}

const (
	nonceBytes = 24
	// A table is at most 4/5 full: beyond that, probing gets long.
	maxUsed, maxUsedOf = 4, 5
	// It grows to 13/10 of its size.
	growth, growthOf = 13, 10
	// Sweeping goes through a run of slots at every so many claims, rather than
	// one by one, because memory is fetched in runs. 8 slots per claim pass
	// through the table before a quarter of it is replaced.
	sweepEvery, sweepRun = 16, 128
)

// home returns the slot where a hash belongs: hash * len / 2^64.
func (t *nonceTable) home(hash uint64) int {
	hi, _ := bits.Mul64(hash, uint64(len(t.slots)))
	return int(hi)
}

func (t *nonceTable) next(i int) int {
	if i++; i == len(t.slots) {
		return 0
	}
	return i
}

// find returns the entry for the nonce of key, or nil.
func (t *nonceTable) find(key nonce) *nonce {
	if t.used == 0 {
		return nil
	}
	for i := t.home(key.hash); t.slots[i].until != 0; i = t.next(i) {
		if t.slots[i].hash == key.hash && t.slots[i].tag == key.tag {
			return &t.slots[i]
		}
	}
	return nil
}

// insert adds key, which must not be in the table and must have an until.
func (t *nonceTable) insert(key nonce) {
	if (t.used+1)*maxUsedOf > len(t.slots)*maxUsed {
		t.grow()
	}
	t.put(key)
}

func (t *nonceTable) put(key nonce) {
	i := t.home(key.hash)
	for t.slots[i].until != 0 {
		i = t.next(i)
	}
	t.slots[i] = key
	t.used++
}

func (t *nonceTable) grow() {
	old := t.slots
	t.slots = make([]nonce, max(16, len(old)*growth/growthOf))
	t.used, t.cursor = 0, 0
	for _, key := range old {
		if key.until != 0 {
			t.put(key)
		}
	}
}

// remove frees slot i and moves what follows back over the gap, so that no
// search ends too early. Another entry may be in slot i afterwards.
func (t *nonceTable) remove(i int) {
	gap := i
	for j := t.next(i); t.slots[j].until != 0; j = t.next(j) {
		// The entry in j may move to the gap unless it belongs after it.
		if home := t.home(t.slots[j].hash); t.distance(home, j) >= t.distance(gap, j) {
			t.slots[gap] = t.slots[j]
			gap = j
		}
	}
	t.slots[gap] = nonce{}
	t.used--
}

// distance returns how many steps lead from slot i to slot j.
func (t *nonceTable) distance(i, j int) int {
	if j < i {
		return j + len(t.slots) - i
	}
	return j - i
}

// sweepSome does the share of one claim in the sweeping, and returns how many
// entries were removed.
func (t *nonceTable) sweepSome(now uint32) int {
	if t.claims++; t.claims%sweepEvery != 0 {
		return 0
	}
	return t.sweep(now, min(sweepRun, len(t.slots)))
}

// sweepWhole removes everything that has expired.
func (t *nonceTable) sweepWhole(now uint32) int {
	t.cursor = 0
	return t.sweep(now, len(t.slots))
}

// sweep goes through n slots from the cursor on, removes the entries whose
// until lies before now, and returns how many.
func (t *nonceTable) sweep(now uint32, n int) (removed int) {
	for range n {
		for until := t.slots[t.cursor].until; until != 0 && until < now; until = t.slots[t.cursor].until {
			t.horizon = max(t.horizon, until)
			t.remove(t.cursor)
			removed++
		}
		t.cursor = t.next(t.cursor)
	}
	return removed
}

// bytes returns the size of the table in memory.
func (t *nonceTable) bytes() int { return len(t.slots) * nonceBytes }
