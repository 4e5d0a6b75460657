package leyline

import "math/bits"

// nonce is what is kept of one claim: 24 bytes without pointers, so that the
// garbage collector never looks at a million of them.
type nonce struct {
	hash   uint64 // of the nonce, says where it belongs
	holder uint64 // hash of who claimed it; 0 for nobody
	tag    uint32 // second hash of the nonce, makes 96 bits
	until  uint32 // Unix second after which it may be forgotten; 0 marks a free slot
}

// nonceTable is a hash table with linear probing whose entries stand in the order
// of their hashes: the slot where one belongs is its hash scaled to the size of
// the table, so that order and place go together. Therefore a search ends at the
// first larger hash, one read of memory where the nonce is not there, and
// forgetting and growing are one pass over memory from front to back. Nothing is
// ever removed alone.
//
// It is not safe for concurrent use.
type nonceTable struct {
	slots   []nonce
	used    int    // slots that are not free
	horizon uint32 // latest until among what was forgotten
}

const (
	nonceBytes = 24
	// A table is at most 4/5 full, since probing gets long beyond. Then what
	// has expired goes. Where more than 18/25 stays, the table grows to 9/8;
	// where less than 3/5, and the table is of some size, it shrinks to 3/2
	// slots per nonce. So there are 30 to 40 bytes for each that is live, and
	// some 8 slots are looked at for each that expires.
	maxUsed, maxUsedOf     = 4, 5
	growAbove, growAboveOf = 18, 25
	growth, growthOf       = 9, 8
	shrinkBelow, shrinkOf  = 3, 5
	roomy, roomyOf         = 3, 2
	minHomes, shrinkHomes  = 16, 1024
	// spill is how many slots there are beyond those where entries belong, for
	// what is pushed over the end. One of a hundred tables needs more, shortly
	// before it is full.
	spill = 8
)

// home returns the slot where a hash belongs: hash * homes / 2^64.
func home(hash uint64, homes int) int {
	hi, _ := bits.Mul64(hash, uint64(homes))
	return int(hi)
}

func (t *nonceTable) homes() int { return max(0, len(t.slots)-spill) }

// find returns where the nonce with the hashes of key is, or where it would have
// to be inserted.
func (t *nonceTable) find(key nonce) (at int, found bool) {
	for at = home(key.hash, t.homes()); at < len(t.slots); at++ {
		slot := &t.slots[at]
		if slot.until == 0 || slot.hash > key.hash {
			break
		}
		if slot.hash == key.hash && slot.tag == key.tag {
			return at, true
		}
	}
	return at, false
}

// insert puts key where find said that it has to be, and returns how many
// nonces it forgot to make room: those whose until lies before now.
func (t *nonceTable) insert(at int, key nonce, now uint32) (forgotten int) {
	end := t.gap(at)
	if (t.used+1)*maxUsedOf > t.homes()*maxUsed || end == len(t.slots) {
		forgotten = t.makeRoom(now)
		at, _ = t.find(key)
		end = t.gap(at)
	}
	for end == len(t.slots) { // the spill is used up, unlikely as it is by now
		t.resize(t.homes() * growth / growthOf)
		at, _ = t.find(key)
		end = t.gap(at)
	}
	copy(t.slots[at+1:end+1], t.slots[at:end])
	t.slots[at] = key
	t.used++
	return forgotten
}

// gap returns the first free slot from at on, or the number of slots.
func (t *nonceTable) gap(at int) int {
	for at < len(t.slots) && t.slots[at].until != 0 {
		at++
	}
	return at
}

// makeRoom purges the table, and gives it the size that fits what is left.
func (t *nonceTable) makeRoom(now uint32) (forgotten int) {
	forgotten = t.purge(now)
	switch homes := t.homes(); {
	case (t.used+1)*growAboveOf > homes*growAbove:
		t.resize(homes * growth / growthOf)
	case t.used*shrinkOf < homes*shrinkBelow && homes > shrinkHomes:
		t.resize(t.used * roomy / roomyOf)
	}
	return forgotten
}

// purge forgets every nonce whose until lies before now, and returns how many.
func (t *nonceTable) purge(now uint32) (forgotten int) {
	next, homes := 0, t.homes()
	for i, key := range t.slots {
		if key.until == 0 {
			continue
		}
		t.slots[i] = nonce{}
		if key.until < now {
			t.horizon = max(t.horizon, key.until)
			forgotten++
			continue
		}
		// Never further back than it was: what went before it got fewer.
		next = max(next, home(key.hash, homes))
		t.slots[next] = key
		next++
	}
	t.used -= forgotten
	return forgotten
}

// resize moves everything to a table of so many homes, or more where it does not
// fit.
func (t *nonceTable) resize(homes int) {
	for homes = max(homes, minHomes); ; homes = homes * growth / growthOf {
		if slots := make([]nonce, homes+spill); spread(slots, t.slots) {
			t.slots = slots
			return
		}
	}
}

// spread copies the nonces in from to where they belong in slots, which are free.
// It reports false where the spill is too small for that.
func spread(slots, from []nonce) bool {
	next, homes := 0, len(slots)-spill
	for _, key := range from {
		if key.until == 0 {
			continue
		}
		if next = max(next, home(key.hash, homes)); next == len(slots) {
			return false
		}
		slots[next] = key
		next++
	}
	return true
}

// bytes returns the size of the table in memory.
func (t *nonceTable) bytes() int { return len(t.slots) * nonceBytes }
