package urza

import (
	"context"
	"fmt"
	"slices"
)

// Verification is what [Library.Verify] found out about one artifact.
type Verification struct {
	Entry    Entry
	Checksum string // hex SHA-256 of the file; empty where it could not be read
	Size     int64  // bytes
	Err      error  // nil: the artifact is there and is what its record says
}

// OK reports whether nothing is wrong.
func (v *Verification) OK() bool { return v.Err == nil }

// Reason returns what a prefetch request for the artifact would be told; empty
// where nothing is wrong.
func (v *Verification) Reason() string {
	if v.Err == nil {
		return ""
	}
	return answerReason(v.Err)
}

// VerifyProgress says how far a verification is.
type VerifyProgress struct {
	BlueprintID string // the one that is read now
	Artifact    int    // its place, from 1
	Artifacts   int
	Done, Total int64 // bytes read and to be read, over all artifacts
}

// Verify reads the artifacts of the given blueprints, or of all if there are
// none given, from start to end, and compares them with their records. What is
// wrong with an artifact stands in its Verification; unlike a request it does
// not make an event of it. Progress, if not nil, is called as bytes are read.
// The results are ascending by blueprint id.
//
// Verify fails only when ctx ends, when the library is closed, or with
// [ErrUnavailable]; what it found before is returned with the error.
func (l *Library) Verify(ctx context.Context, blueprintIDs []string, progress func(VerifyProgress)) ([]Verification, error) {
	if err := l.scan(ctx); err != nil {
		return nil, err
	}
	work, total := l.toVerify(blueprintIDs)
	at := VerifyProgress{Artifacts: len(work), Total: total}
	results := make([]Verification, 0, len(work))
	for i, v := range work {
		at.BlueprintID, at.Artifact = v.Entry.BlueprintID, i+1
		read := func(n int) error {
			if at.Done += int64(n); progress != nil {
				progress(at)
			}
			return nil
		}
		if v.Err == nil {
			v.Checksum, v.Size, v.Err = l.reverify(ctx, &v.Entry, read)
		}
		if err := context.Cause(ctx); err != nil {
			return results, err
		}
		if l.ctx.Err() != nil {
			return results, ErrClosed
		}
		results = append(results, v)
	}
	return results, nil
}

// toVerify returns a Verification still to be done for every blueprint, and the
// bytes to be read for all.
func (l *Library) toVerify(blueprintIDs []string) (work []Verification, total int64) {
	if len(blueprintIDs) == 0 {
		for _, e := range l.List(Query{}) {
			work = append(work, Verification{Entry: e})
		}
	}
	for _, id := range slices.Compact(slices.Sorted(slices.Values(blueprintIDs))) {
		v := Verification{Entry: Entry{BlueprintID: id}, Err: ErrNotFound}
		if e, ok := l.Lookup(id); ok {
			v = Verification{Entry: e}
		}
		work = append(work, v)
	}
	for _, v := range work {
		if at, err := l.store.find(v.Entry.ArtifactPath); err == nil && v.Err == nil {
			total += at.id.size
		}
	}
	return work, total
}

// reverify hashes an artifact whatever is known of it, and remembers the hash.
func (l *Library) reverify(ctx context.Context, e *Entry, read func(n int) error) (sum string, size int64, err error) {
	if e.Problem != "" {
		return "", 0, fmt.Errorf("%w: %s", ErrMalformed, e.Problem)
	}
	at, err := l.store.find(e.ArtifactPath)
	if err != nil {
		return "", 0, err
	}
	p, err := l.hashFile(ctx, at.name, read)
	if err != nil {
		return "", 0, err
	}
	if it := l.index.get(e.BlueprintID); it != nil && it.entry.ArtifactPath == e.ArtifactPath {
		l.keep(it, p, at)
	}
	return p.sum, p.id.size, checkSum(e, p.sum)
}
