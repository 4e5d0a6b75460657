package oona

import _ "embed"

// noncesSource begins every script that judges nonces.
//
//go:embed nonces.lua
var noncesSource string

// nonceArgs lays out what nonces.lua needs to know of a batch. It is reused from
// batch to batch and keeps its memory.
type nonceArgs struct {
	keys    []string
	args    []any
	numbers map[int64]int // bucket number → 1-based position
	buckets []int64
	index   map[string]int // nonce → 1-based position
	nonces  []string
}

// maxBuckets bounds how many buckets one script looks into: every nonce is
// looked for in each.
const maxBuckets = 40

func (a *nonceArgs) reset() {
	if a.numbers == nil {
		a.numbers, a.index = make(map[int64]int), make(map[string]int)
	}
	clear(a.numbers)
	clear(a.index)
	clear(a.args)
	a.keys, a.args, a.buckets, a.nonces = a.keys[:0], a.args[:0], a.buckets[:0], a.nonces[:0]
}

// collect takes note of a delivery's nonce and of the buckets in which it, or
// the same nonce under another issue time, can be. It reports false when these
// are too many for one script.
func (a *nonceArgs) collect(k keyspace, nonce string, issuedAtMs int64) bool {
	if nonce == "" {
		return true
	}
	own := k.bucket(issuedAtMs)
	if _, ok := a.numbers[own]; !ok && len(a.buckets)+2*neighbours+1 > maxBuckets {
		return false
	}
	for b := own - neighbours; b <= own+neighbours; b++ {
		if _, ok := a.numbers[b]; !ok {
			a.buckets = append(a.buckets, b)
			a.numbers[b] = len(a.buckets)
		}
	}
	if _, ok := a.index[nonce]; !ok {
		a.nonces = append(a.nonces, nonce)
		a.index[nonce] = len(a.nonces)
	}
	return true
}

// begin writes what was collected.
func (a *nonceArgs) begin(k keyspace, group, stream string) {
	a.keys = append(a.keys, k.marks(group), stream)
	a.args = append(a.args, len(a.buckets), len(a.nonces))
	for _, b := range a.buckets {
		a.keys = append(a.keys, k.nonces(group, b))
		a.args = append(a.args, b)
	}
	for i := range a.nonces {
		a.args = append(a.args, &a.nonces[i])
	}
}

// place returns where the scripts find a delivery's nonce and its bucket: zero
// for a delivery without one.
func (a *nonceArgs) place(k keyspace, nonce string, issuedAtMs int64) (index, bucket int) {
	if nonce == "" {
		return 0, 0
	}
	return a.index[nonce], a.numbers[k.bucket(issuedAtMs)]
}
