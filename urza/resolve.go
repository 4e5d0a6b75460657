package urza

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"
)

// Artifact is an artifact that is there and is what its record says.
type Artifact struct {
	Entry    Entry
	Checksum string // hex SHA-256 of the file as it stands
	Size     int64  // bytes
}

// Lookup returns what the index knows of a blueprint. It reads neither the
// catalogue nor a file, and does not count as a request.
func (l *Library) Lookup(blueprintID string) (Entry, bool) {
	it := l.index.get(blueprintID)
	if it == nil {
		return Entry{}, false
	}
	return it.entry, true
}

// Resolve returns the verified artifact of a blueprint. Where the file is the
// one that was hashed before, that costs a look at its identity; otherwise
// Resolve waits for the hash, which all who ask for the artifact share. Before
// it fails, it reads the row again, in case another process has just saved.
//
// Errors: [ErrNotFound], [ErrArtifactMissing] (also as [ErrOutsideRoot]),
// *[ChecksumError], [ErrMalformed], [ErrUnavailable] where the catalogue had to
// be asked and could not, or the cause of ctx.
func (l *Library) Resolve(ctx context.Context, blueprintID string) (Artifact, error) {
	it, p, err := l.resolve(ctx, blueprintID)
	if err != nil {
		return Artifact{}, err
	}
	return Artifact{Entry: it.entry, Checksum: p.sum, Size: p.id.size}, nil
}

func (l *Library) resolve(ctx context.Context, blueprintID string) (*item, *proof, error) {
	if l.ctx.Err() != nil {
		return nil, nil, ErrClosed
	}
	start := time.Now()
	it := l.index.get(blueprintID)
	if it != nil {
		l.count.hits.Add(1)
		l.count.lookup.set(time.Since(start))
	} else {
		l.count.misses.Add(1)
		var err error
		if it, err = l.reread(ctx, blueprintID); err != nil {
			return nil, nil, err
		}
		if it == nil {
			return nil, nil, fmt.Errorf("%w: %q", ErrNotFound, blueprintID)
		}
	}
	p, err := l.verified(ctx, it)
	if err != nil && ctx.Err() == nil && l.ctx.Err() == nil {
		it, p, err = l.secondLook(ctx, it, err)
	}
	if err != nil && l.ctx.Err() != nil {
		err = ErrClosed // and not what a library that is being closed looks like
	}
	return it, p, err
}

// secondLook decides about an artifact that failed: if the row was changed by
// another process meanwhile, the new one counts.
func (l *Library) secondLook(ctx context.Context, it *item, failed error) (*item, *proof, error) {
	for _, renew := range [...]func(context.Context){nil, l.takePending} {
		if renew != nil {
			renew(ctx)
		}
		now, err := l.reread(ctx, it.entry.BlueprintID)
		if err != nil {
			break // the catalogue has no better answer
		}
		if now == nil {
			return it, nil, fmt.Errorf("%w: %q", ErrNotFound, it.entry.BlueprintID)
		}
		if now == it {
			continue
		}
		it = now
		p, err := l.verified(ctx, it)
		if err == nil || ctx.Err() != nil {
			return it, p, err
		}
		failed = err
	}
	l.failure(it, failed)
	return it, nil, failed
}

// verified returns the proof of an item's file, if it agrees with its record.
func (l *Library) verified(ctx context.Context, it *item) (*proof, error) {
	if it.entry.Problem != "" {
		return nil, fmt.Errorf("%w: %s", ErrMalformed, it.entry.Problem)
	}
	p, err := l.prove(ctx, it)
	if err != nil {
		return nil, err
	}
	return p, l.checkProof(&it.entry, p)
}

// checkProof compares a file, as it was hashed, with its record.
func (l *Library) checkProof(e *Entry, p *proof) error {
	if ttl := l.cfg.CacheTTL; ttl > 0 && time.Since(time.Unix(0, p.id.modified)) > ttl {
		return fmt.Errorf("%w: artifact of %q is expired", ErrNotFound, e.BlueprintID)
	}
	return checkSum(e, p.sum)
}

func checkSum(e *Entry, sum string) error {
	if e.Checksum == "" || strings.EqualFold(e.Checksum, sum) {
		return nil
	}
	return &ChecksumError{BlueprintID: e.BlueprintID, ArtifactPath: e.ArtifactPath, Want: e.Checksum, Got: sum}
}

// prove returns the hash of an item's file, computed now or known from its
// identity.
func (l *Library) prove(ctx context.Context, it *item) (*proof, error) {
	if p := it.proof.Load(); p != nil && p.name != "" && l.current(p) {
		return p, nil
	}
	const tries = 3
	var err error
	for range tries {
		var at found
		if at, err = l.store.find(it.entry.ArtifactPath); err != nil {
			return nil, err
		}
		p := it.proof.Load()
		if p != nil && p.id == at.id {
			return p, nil
		}
		p, _, err = l.hashes.do(ctx, at.name, func() (*proof, error) { return l.hashForRequest(at) })
		switch {
		case err != nil && !errors.Is(err, errChanging):
			return nil, err
		case err == nil && p.id == at.id:
			l.keep(it, p, at)
			return p, nil
		}
	}
	return nil, cmp.Or(err, errChanging)
}

// current reports whether the file of a proof is still the one that was hashed.
func (l *Library) current(p *proof) bool {
	info, err := l.store.root.Load().Stat(p.name)
	return err == nil && identify(info) == p.id
}

// errChanging is returned for a file that is written to all the time.
var errChanging = errors.New("urza: artifact changes while it is read")

// keep remembers a proof, if a later change of the file is sure to show.
func (l *Library) keep(it *item, p *proof, at found) {
	if !p.id.settled(p.start) {
		return
	}
	if !at.direct {
		p = new(*p)
		p.name = ""
	}
	it.proof.Store(p)
}

func concurrentHashes() int { return max(1, runtime.GOMAXPROCS(0)) }

// hashForRequest hashes an artifact that was requested. Large ones wait for one
// of the places for hashing, so that they leave the processors to other
// requests; small ones take less time than the wait could.
func (l *Library) hashForRequest(at found) (*proof, error) {
	if at.id.size > smallBytes {
		select {
		case l.hashing <- struct{}{}:
			defer func() { <-l.hashing }()
		case <-l.ctx.Done():
			return nil, ErrClosed
		}
	}
	return l.hashFile(l.ctx, at.name, nil)
}

// hashFile hashes a file that find has named.
func (l *Library) hashFile(ctx context.Context, name string, each func(n int) error) (*proof, error) {
	f, before, err := l.store.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	start := time.Now()
	sum, err := hashReader(ctx, f, before.size, each)
	if err != nil {
		return nil, fmt.Errorf("urza: hash %s: %w", name, err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("urza: hash %s: %w", name, err)
	}
	if identify(info) != before {
		return nil, errChanging
	}
	return &proof{name: name, id: before, sum: sum, start: start}, nil
}

// failure counts what is wrong with an artifact and reports it.
func (l *Library) failure(it *item, err error) {
	if errors.Is(err, ErrNotFound) {
		l.count.expired.Add(1)
		return
	}
	event := IntegrityEvent{
		Time: time.Now(), BlueprintID: it.entry.BlueprintID, ArtifactPath: it.entry.ArtifactPath, Err: err,
	}
	mismatch, isMismatch := errors.AsType[*ChecksumError](err)
	switch {
	case isMismatch:
		event.Kind, event.Want, event.Got = KindChecksumMismatch, mismatch.Want, mismatch.Got
	case errors.Is(err, ErrOutsideRoot):
		event.Kind = KindOutsideRoot
	case errors.Is(err, ErrArtifactMissing):
		event.Kind = KindArtifactMissing
	case errors.Is(err, ErrMalformed):
		event.Kind = KindMalformedRecord
	default:
		l.count.errors.Add(1)
		l.log.Warn("artifact cannot be read", "blueprint_id", it.entry.BlueprintID, "error", err)
		return
	}
	l.count.integrity.Add(1)
	last := it.reported.Load()
	if event.Time.UnixNano()-last > int64(reportInterval) && it.reported.CompareAndSwap(last, event.Time.UnixNano()) {
		l.report(event)
	}
}

// reportInterval is the least time between two events about one item.
const reportInterval = time.Minute

func (l *Library) report(event IntegrityEvent) {
	l.log.Warn("library integrity", "kind", string(event.Kind), "blueprint_id", event.BlueprintID,
		"artifact", event.ArtifactPath, "error", event.Err)
	if l.cfg.OnIntegrity != nil {
		l.cfg.OnIntegrity(event)
	}
}
