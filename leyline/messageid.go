package leyline

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
)

// newMessageID returns the text of a UUIDv7 (RFC 9562 section 5.7) for a time in
// Unix ms. It is written straight into its text form because every message
// that is sealed has one; its randomness only has to be unique, since the id is
// signed.
func newMessageID(ms int64) [36]byte {
	var id [16]byte
	binary.BigEndian.PutUint64(id[0:], uint64(ms)<<16|rand.Uint64()&0x0fff|0x7000)
	binary.BigEndian.PutUint64(id[8:], rand.Uint64()&(1<<62-1)|1<<63)
	var text [36]byte
	hex.Encode(text[0:8], id[0:4])
	text[8] = '-'
	hex.Encode(text[9:13], id[4:6])
	text[13] = '-'
	hex.Encode(text[14:18], id[6:8])
	text[18] = '-'
	hex.Encode(text[19:23], id[8:10])
	text[23] = '-'
	hex.Encode(text[24:], id[10:])
	return text
}
