package oona

import _ "embed"

// noncesSource begins every script that judges nonces.
//
//go:embed nonces.lua
var noncesSource string

// nonceArgs lays out what nonces.lua needs to know of a batch. It is reused from
// batch to batch and keeps its memory. Strings are passed by their addresses,
// since an address fits into an interface without an allocation.
type nonceArgs struct {
	keys    []string
	args    []any
	numbers map[int64]int // bucket number → 1-based position
	buckets []int64
	index   map[string]int // nonce → 1-based position
	nonces  []*string
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
	clear(a.nonces)
	a.keys, a.args, a.buckets, a.nonces = a.keys[:0], a.args[:0], a.buckets[:0], a.nonces[:0]
}

// reach takes note of the buckets in which a nonce can be, under its own issue
// time or another. It reports false when these are too many for one script.
func (a *nonceArgs) reach(k keyspace, issuedAtMs int64) bool {
	own := k.bucket(issuedAtMs)
	if _, ok := a.numbers[own]; !ok && len(a.buckets)+2*int(k.neighbours)+1 > maxBuckets {
		return false
	}
	for b := own - k.neighbours; b <= own+k.neighbours; b++ {
		if _, ok := a.numbers[b]; !ok {
			a.buckets = append(a.buckets, b)
			a.numbers[b] = len(a.buckets)
		}
	}
	return true
}

// number gives a nonce the next position, unless it has one.
func (a *nonceArgs) number(nonce *string) {
	if a.index[*nonce] == 0 {
		a.nonces = append(a.nonces, nonce)
		a.index[*nonce] = len(a.nonces)
	}
}

// begin writes what was collected.
func (a *nonceArgs) begin(k keyspace, group, stream string) {
	a.keys = append(a.keys, k.marks(group), stream)
	a.args = append(a.args, len(a.buckets), len(a.nonces))
	for _, b := range a.buckets {
		a.keys = append(a.keys, k.nonces(group, b))
		a.args = append(a.args, b)
	}
	for _, n := range a.nonces {
		a.args = append(a.args, n)
	}
}

// place returns where the scripts find a nonce and its bucket: zero for none.
func (a *nonceArgs) place(k keyspace, nonce string, issuedAtMs int64) (index, bucket int) {
	if nonce == "" {
		return 0, 0
	}
	return a.index[nonce], a.numbers[k.bucket(issuedAtMs)]
}
