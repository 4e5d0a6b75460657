package leyline

import "encoding/binary"

// position numbers the nonces of a table in the order of their claims, in a
// circle of 65,536.
type position uint16

// nonceGroup is one cache line of the index. Each of its 20 slots has eight bits
// of a nonce's hash, and the position where the rest is. A slot is free when its
// position is not in the log: what leaves the log need not be looked for here.
type nonceGroup struct {
	fingerprints [groupSlots]uint8
	positions    [groupSlots]position
	// passed is the position of the last nonce that found the group full and
	// went on to the next. When it has left the log, so have all before it.
	passed position
	_      uint16
}

const (
	groupBytes = 64
	groupSlots = 20
	lowBits    = 0x0101_0101_0101_0101 // the lowest bit of every byte
	highBits   = lowBits << 7
	// gathering moves the lowest bits of all bytes, by a multiplication, into
	// the highest byte.
	gathering = 0x0102_0408_1020_4080
)

// matches returns the set of slots, bit i for slot i, that have the fingerprint,
// free ones included. It may have others too.
func (g *nonceGroup) matches(fingerprint uint8) uint32 {
	pattern := uint64(fingerprint) * lowBits
	first := equalBytes(binary.LittleEndian.Uint64(g.fingerprints[:]), pattern)
	second := equalBytes(binary.LittleEndian.Uint64(g.fingerprints[8:]), pattern)
	third := equalBytes(binary.LittleEndian.Uint64(g.fingerprints[12:]), pattern) >> 32
	if first|second|third == 0 {
		return 0
	}
	return uint32(gather(first) | gather(second)<<8 | gather(third)<<16)
}

// equalBytes returns a word with the highest bit set of each byte that two words
// have in common, and perhaps of bytes above these.
func equalBytes(a, b uint64) uint64 {
	differ := a ^ b
	return (differ - lowBits) &^ differ & highBits
}

// gather returns the highest bits of the bytes of a word, the first byte's lowest.
func gather(word uint64) uint64 { return word >> 7 * gathering >> 56 }
