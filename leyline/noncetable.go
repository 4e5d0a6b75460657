package leyline

import "math/bits"

// nonce is what is kept of one claim: 24 bytes without pointers, so that the
// garbage collector never looks at a million of them.
type nonce struct {
	hash   uint64 // of the nonce, says where it belongs
	holder uint64 // hash of who claimed it; 0 for nobody
	tag    uint32 // second hash of the nonce, makes 96 bits
	until  uint32 // Unix second after which it may be forgotten
}

// fingerprint is what of a nonce stands in its group; never zero. Its bits take
// no part in the choice of the shard and of the group.
func (n nonce) fingerprint() uint64 { return max(1, n.hash>>8&maxPassed) }

// nonceTable is a hash table in two parts: groups of fingerprints, small enough
// for the caches of a processor even with a million nonces, and the nonces
// themselves, which main memory holds. A nonce belongs into the group that its
// hash leads to, or, where that is full, into one of the next. A nonce that is
// not there is told by its group alone, but for 1 of 2,000, and one that is
// added is written behind, some at a time: neither waits for main memory.
//
// It is not safe for concurrent use.
type nonceTable struct {
	groups  []nonceGroup
	nonces  []nonce // groupSlots for each group
	used    int     // slots that are taken
	horizon uint32  // latest until among what was forgotten
	touched uint64  // keeps touch from being left out

	behind  [writeBehind]writtenNonce // what is not in nonces yet
	written int                       // how many of behind
}

// writtenNonce is a nonce on its way to its slot.
type writtenNonce struct {
	nonce nonce
	at    uint32
}

const (
	nonceBytes = 24
	groupBytes = 64
	// writeBehind is how many nonces are written at a time: about as many as
	// a processor waits for at once, so that all take little longer than one.
	writeBehind = 16
	// A table is at most 17/20 full, since too many groups would be beyond. Then
	// what has expired goes. Where more than 19/25 stays, the table grows to 9/8;
	// where less than 2/3, and the table is of some size, it shrinks to 25/18
	// slots per nonce. So there are 30 to 40 bytes for each that is live, and
	// some 8 slots are looked at for each that expires.
	maxUsed, maxUsedOf     = 17, 20
	growAbove, growAboveOf = 19, 25
	growth, growthOf       = 9, 8
	shrinkBelow, shrinkOf  = 2, 3
	roomy, roomyOf         = 25, 18
	shrinkGroups           = 32
)

// home returns the group where a hash belongs: hash * groups / 2^64.
func (t *nonceTable) home(hash uint64) int {
	hi, _ := bits.Mul64(hash, uint64(len(t.groups)))
	return int(hi)
}

// touch begins to read the group where a hash belongs.
func (t *nonceTable) touch(hash uint64) {
	if len(t.groups) > 0 {
		t.touched ^= t.groups[t.home(hash)][0]
	}
}

// next returns the group after another, in a circle.
func (t *nonceTable) next(group int) int {
	if group++; group < len(t.groups) {
		return group
	}
	return 0
}

// find returns the nonce with the hashes of key, nil if it is not there.
func (t *nonceTable) find(key nonce) *nonce {
	pattern := key.fingerprint() * lowBits
	home := t.home(key.hash)
	for range t.groups {
		group := &t.groups[home]
		if group.mayHold(pattern) {
			if held := t.search(home, key); held != nil {
				return held
			}
		}
		if group.passed() == 0 {
			break
		}
		home = t.next(home)
	}
	return nil
}

// search returns the nonce with the hashes of key in a group, nil if it is not
// there.
func (t *nonceTable) search(group int, key nonce) *nonce {
	t.settle()
	for slot := range groupSlots {
		if t.groups[group].fingerprint(slot) != key.fingerprint() {
			continue
		}
		held := &t.nonces[group*groupSlots+slot]
		if held.hash == key.hash && held.tag == key.tag {
			return held
		}
	}
	return nil
}

// insert adds key, which find did not find, and returns how many nonces it forgot
// to make room: those whose until lies before now.
func (t *nonceTable) insert(key nonce, now uint32) (forgotten int) {
	if (t.used+1)*maxUsedOf > len(t.nonces)*maxUsed {
		forgotten = t.makeRoom(now)
	}
	if t.written == writeBehind {
		t.settle()
	}
	t.behind[t.written] = writtenNonce{key, uint32(t.take(key))}
	t.written++
	return forgotten
}

// take gives key a slot, and returns which.
func (t *nonceTable) take(key nonce) (at int) {
	for home := t.home(key.hash); ; home = t.next(home) {
		group := &t.groups[home]
		if slot := group.free(); slot < groupSlots {
			group.set(slot, key.fingerprint())
			t.used++
			return home*groupSlots + slot
		}
		group.pass()
	}
}

// settle writes what is written behind.
func (t *nonceTable) settle() {
	for _, w := range t.behind[:t.written] {
		t.nonces[w.at] = w.nonce
	}
	t.written = 0
}

// makeRoom purges the table, and gives it the size that fits what is left.
func (t *nonceTable) makeRoom(now uint32) (forgotten int) {
	forgotten = t.purge(now)
	switch slots := len(t.nonces); {
	case (t.used+1)*growAboveOf > slots*growAbove:
		t.resize(max(len(t.groups)+1, len(t.groups)*growth/growthOf))
	case t.used*shrinkOf < slots*shrinkBelow && len(t.groups) > shrinkGroups:
		t.resize(t.used*roomy/roomyOf/groupSlots + 1)
	}
	return forgotten
}

// purge forgets every nonce whose until lies before now, and returns how many.
func (t *nonceTable) purge(now uint32) (forgotten int) {
	t.settle()
	for i := range t.groups {
		group := &t.groups[i]
		for slot, held := range t.nonces[i*groupSlots : (i+1)*groupSlots] {
			if held.until >= now || group.fingerprint(slot) == 0 {
				continue
			}
			t.horizon = max(t.horizon, held.until)
			group.set(slot, 0)
			for passed := t.home(held.hash); passed != i; passed = t.next(passed) {
				t.groups[passed].unpass()
			}
			forgotten++
		}
	}
	t.used -= forgotten
	return forgotten
}

// resize moves everything, all of it settled, to a table of so many groups.
func (t *nonceTable) resize(groups int) {
	old, nonces := t.groups, t.nonces
	t.groups, t.nonces, t.used = make([]nonceGroup, groups), make([]nonce, groups*groupSlots), 0
	for i := range old {
		for slot, held := range nonces[i*groupSlots : (i+1)*groupSlots] {
			if old[i].fingerprint(slot) != 0 {
				t.nonces[t.take(held)] = held
			}
		}
	}
}

// bytes returns the size of the table in memory.
func (t *nonceTable) bytes() int { return len(t.groups)*groupBytes + len(t.nonces)*nonceBytes }
