package leyline

import "math/bits"

// nonceGroup says in one cache line which of 31 slots are taken, and by what: a
// lane of 16 bits for each holds the fingerprint of the nonce there, or zero. The
// lane that is left counts the nonces that found the group full and went on.
type nonceGroup [8]uint64

const (
	groupSlots  = 31
	lanesOfWord = 4
	laneBits    = 16
	lowBits     = 0x0001_0001_0001_0001 // the lowest bit of every lane
	highBits    = lowBits << (laneBits - 1)
	passedShift = 64 - laneBits
	maxPassed   = 1<<laneBits - 1
)

// zeroLanes has the high bit set of every lane of word that is zero, and perhaps
// of lanes above the lowest of these.
func zeroLanes(word uint64) uint64 { return (word - lowBits) &^ word & highBits }

// lane returns the number of the lane that the lowest bit of a mask is in.
func lane(mask uint64) int { return bits.TrailingZeros64(mask) / laneBits }

// free returns the first slot that is free, groupSlots if there is none.
func (g *nonceGroup) free() int {
	for i, word := range g {
		if i == len(g)-1 {
			word |= maxPassed << passedShift // not a slot
		}
		if mask := zeroLanes(word); mask != 0 {
			return i*lanesOfWord + lane(mask)
		}
	}
	return groupSlots
}

// set puts a fingerprint, or zero, into a slot.
func (g *nonceGroup) set(slot int, fingerprint uint64) {
	shift := slot % lanesOfWord * laneBits
	word := &g[slot/lanesOfWord]
	*word = *word&^(maxPassed<<shift) | fingerprint<<shift
}

// fingerprint returns what is in a slot, zero if it is free.
func (g *nonceGroup) fingerprint(slot int) uint64 {
	return g[slot/lanesOfWord] >> (slot % lanesOfWord * laneBits) & maxPassed
}

// mayHold reports whether any lane is like those of pattern: a slot, or the count.
func (g *nonceGroup) mayHold(pattern uint64) bool {
	return zeroLanes(g[0]^pattern)|zeroLanes(g[1]^pattern)|
		zeroLanes(g[2]^pattern)|zeroLanes(g[3]^pattern)|
		zeroLanes(g[4]^pattern)|zeroLanes(g[5]^pattern)|
		zeroLanes(g[6]^pattern)|zeroLanes(g[7]^pattern) != 0
}

// passed returns how many nonces went on to another group. A count that has
// reached maxPassed is not exact any more, and stays.
func (g *nonceGroup) passed() uint64 { return g[len(g)-1] >> passedShift }

// pass counts one more nonce that went on.
func (g *nonceGroup) pass() {
	if g.passed() < maxPassed {
		g[len(g)-1] += 1 << passedShift
	}
}

// unpass takes pass back: the nonce was forgotten.
func (g *nonceGroup) unpass() {
	if g.passed() < maxPassed {
		g[len(g)-1] -= 1 << passedShift
	}
}
