package leyline

import "math/bits"

// nonce is what is kept of one claim: 24 bytes without pointers, so that the
// garbage collector never looks at a million of them.
type nonce struct {
	hash   uint64 // of the nonce, says where it belongs in the index
	holder uint64 // hash of who claimed it; 0 for nobody
	tag    uint32 // second hash of the nonce, makes 96 bits
	until  uint32 // Unix second after which it may be forgotten
}

// fingerprint is what of a nonce stands in the index. Its bits take no part in
// the choice of the shard and of the group.
func (n nonce) fingerprint() uint8 { return uint8(n.hash >> 24) }

// nonceTable holds nonces in a log, in the order of their claims, which is about
// the order in which they expire. New ones are added at one end, some at a time,
// and expired ones leave at the other: main memory is written and read in
// sequence. An index, small enough for the caches of a processor as long as
// there are less than some million, says where in the log a nonce is. Nothing is ever
// taken out of the index: what has left the log is void there.
//
// A nonce belongs into the group of the index that its hash leads to, or, where
// that is full, into one of the next. One that is not held is told by its group
// alone, but for 1 of 20.
//
// It is not safe for concurrent use.
type nonceTable struct {
	log     []nonce  // a circle
	first   int      // where in log the oldest nonce is
	oldest  position // of that nonce
	used    int      // nonces held, those in behind included
	groups  []nonceGroup
	horizon uint32 // latest until among what was forgotten
	touched uint16 // keeps touch from being left out

	behind  [writeBehind]nonce // the newest, which are not in log yet
	written int                // how many of behind
}

const (
	nonceBytes = 24
	// writeBehind is how many nonces are written at a time: as many as a
	// processor waits for at once, so that all take little longer than one.
	writeBehind = 16
	// A table has at most half as many nonces as there are positions, and those of
	// a store an eighth as a rule: a void slot is taken before its position
	// comes round. Where it is not, it is thought to be in use until it is void again.
	mostNonces = 1 << 15
	// A log that is full of what is live grows to 9/8, and one that is less than 2/3
	// full shrinks to 9/8 of what it holds. A full log has 16 nonces for each
	// group. So there are 30 to 35 bytes for each nonce.
	growth, growthOf      = 9, 8
	shrinkBelow, shrinkOf = 2, 3
	shrinkNonces          = 1024
	groupLoad             = 16
)

// home returns the group where a hash belongs: hash * groups / 2^64.
func (t *nonceTable) home(hash uint64) int {
	hi, _ := bits.Mul64(hash, uint64(len(t.groups)))
	return int(hi)
}

// touch begins to read the group where a hash belongs.
func (t *nonceTable) touch(hash uint64) {
	if len(t.groups) > 0 {
		t.touched ^= uint16(t.groups[t.home(hash)].passed)
	}
}

// next returns the group after another, in a circle.
func (t *nonceTable) next(group int) int {
	if group++; group < len(t.groups) {
		return group
	}
	return 0
}

// age returns how many nonces are older than the one at a position, used or more
// when there is none.
func (t *nonceTable) age(at position) int { return int(at - t.oldest) }

// at returns the nonce that so many are older than.
func (t *nonceTable) at(age int) *nonce {
	if newest := age - (t.used - t.written); newest >= 0 {
		return &t.behind[newest]
	}
	if at := t.first + age; at < len(t.log) {
		return &t.log[at]
	}
	return &t.log[t.first+age-len(t.log)]
}

// find returns the nonce with the hashes of key, nil if it is not there.
func (t *nonceTable) find(key nonce) *nonce {
	home := t.home(key.hash)
	for range t.groups {
		group := &t.groups[home]
		for slots := group.matches(key.fingerprint()); slots != 0; slots &= slots - 1 {
			age := t.age(group.positions[bits.TrailingZeros32(slots)])
			if age >= t.used {
				continue
			}
			if held := t.at(age); held.hash == key.hash && held.tag == key.tag {
				return held
			}
		}
		if t.age(group.passed) >= t.used {
			break
		}
		home = t.next(home)
	}
	return nil
}

// insert adds key, which find did not find, and returns how many nonces it forgot
// to make room: those whose until lies before now. It reports false when the
// table is full.
func (t *nonceTable) insert(key nonce, now uint32) (forgotten int, ok bool) {
	if t.written == writeBehind || len(t.log) == 0 {
		forgotten = t.makeRoom(now)
	}
	if t.used == mostNonces {
		return forgotten, false
	}
	at := t.oldest + position(t.used)
	t.behind[t.written] = key
	t.written++
	t.used++
	if !t.enter(key, at) {
		t.index(len(t.groups))
	}
	return forgotten, true
}

// enter notes in the index where a nonce is. It reports false when no slot is
// free: then there are void positions that have come into use again.
func (t *nonceTable) enter(key nonce, at position) bool {
	home := t.home(key.hash)
	for range t.groups {
		group := &t.groups[home]
		// Begin with another one each time, or else some would be void for long.
		slot := int(at % groupSlots)
		for range groupSlots {
			if t.age(group.positions[slot]) >= t.used {
				group.fingerprints[slot], group.positions[slot] = key.fingerprint(), at
				return true
			}
			if slot++; slot == groupSlots {
				slot = 0
			}
		}
		group.passed = at
		home = t.next(home)
	}
	return false
}

// index makes the index anew, of so many groups.
func (t *nonceTable) index(groups int) {
	if groups != len(t.groups) {
		t.groups = make([]nonceGroup, groups)
	}
	void := nonceGroup{passed: t.oldest - 1}
	for slot := range void.positions {
		void.positions[slot] = t.oldest - 1
	}
	for i := range t.groups {
		t.groups[i] = void
	}
	for age := range t.used {
		t.enter(*t.at(age), t.oldest+position(age))
	}
}

// makeRoom makes room for as many nonces as are written at a time, and gives the
// log the size that fits what is left.
func (t *nonceTable) makeRoom(now uint32) (forgotten int) {
	t.settle()
	forgotten = t.expire(now)
	size := len(t.log)
	switch {
	case t.used+writeBehind > size:
		forgotten += t.purge(now)
		if t.used+writeBehind > size-size/growthOf {
			t.resize(max(size*growth/growthOf, size+2*writeBehind))
		}
	case t.used*shrinkOf < size*shrinkBelow && size > shrinkNonces:
		t.resize(t.used*growth/growthOf + writeBehind)
	}
	return forgotten
}

// settle writes what is written behind; there is room for it.
func (t *nonceTable) settle() {
	from := t.first + t.used - t.written
	if from >= len(t.log) {
		from -= len(t.log)
	}
	n := copy(t.log[from:], t.behind[:t.written])
	copy(t.log, t.behind[n:t.written])
	t.written = 0
}

// expire forgets the oldest nonces, all of them settled, until there is one whose
// until does not lie before now, and returns how many.
func (t *nonceTable) expire(now uint32) (forgotten int) {
	for t.used > 0 && t.log[t.first].until < now {
		t.horizon = max(t.horizon, t.log[t.first].until)
		if t.first++; t.first == len(t.log) {
			t.first = 0
		}
		t.oldest++
		t.used--
		forgotten++
	}
	return forgotten
}

// purge forgets every nonce whose until lies before now, wherever in the log it
// is, and returns how many.
func (t *nonceTable) purge(now uint32) (forgotten int) {
	kept := 0
	t.settle()
	for age := range t.used {
		held := *t.at(age)
		if held.until < now {
			t.horizon = max(t.horizon, held.until)
			continue
		}
		*t.at(kept) = held
		kept++
	}
	if forgotten = t.used - kept; forgotten > 0 {
		t.used = kept
		t.index(len(t.groups))
	}
	return forgotten
}

// resize moves all nonces, which are settled, to a log of another size.
func (t *nonceTable) resize(size int) {
	log := make([]nonce, size)
	n := copy(log, t.log[t.first:min(t.first+t.used, len(t.log))])
	copy(log[n:], t.log[:t.used-n])
	t.log, t.first = log, 0
	t.index(size/groupLoad + 1)
}

// bytes returns the size of the table in memory.
func (t *nonceTable) bytes() int { return len(t.groups)*groupBytes + len(t.log)*nonceBytes }
