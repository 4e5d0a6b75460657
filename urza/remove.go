package urza

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// Remove deletes the record of a blueprint, and then its artifact unless
// another record names it too. A record that cannot be read is deleted as well.
//
// Errors: [ErrNotFound], [ErrUnavailable], [ErrClosed]. If only the file could
// not be removed Remove succeeds: it is an orphan then, for [Library.Maintain].
func (l *Library) Remove(ctx context.Context, blueprintID string) error {
	row, err := l.deleteRow(ctx, blueprintID, nil)
	if err != nil {
		return err
	}
	record := &Record{ArtifactPath: row.ArtifactPath}
	if whole, err := decodeRow(row); err == nil {
		record = whole
	}
	if err := l.removeArtifact(record); err != nil {
		l.log.Warn("removed artifact stays until maintenance", "artifact", row.ArtifactPath, "error", err)
	}
	return nil
}

// deleteRow deletes a row, if it is still the expected one, and returns it. Nil
// expects any.
func (l *Library) deleteRow(ctx context.Context, blueprintID string, expected *Row) (Row, error) {
	l.takePending(ctx)
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.ctx.Err() != nil {
		return Row{}, ErrClosed
	}
	var deleted Row
	err := l.catalogue.Update(ctx, blueprintID, func(old *Row) (*Row, error) {
		if old == nil || expected != nil && *old != *expected {
			return old, fmt.Errorf("%w: %q", ErrNotFound, blueprintID)
		}
		deleted = *old
		return nil, nil
	})
	if err != nil {
		if !errors.Is(err, ErrNotFound) && ctx.Err() == nil {
			err = unavailable(err)
		}
		return Row{}, err
	}
	l.index.remove(l.index.ticket(), blueprintID)
	l.count.evictions.Add(1)
	return deleted, nil
}

// removeArtifact removes the file that a record named which is now gone, unless
// the file is gone too, or another record names it, or it is not the file of
// that record any more: the Python side overwrites files by name, and may be about to write the row for what it just put there.
func (l *Library) removeArtifact(r *Record) error {
	at, err := l.store.find(r.ArtifactPath)
	if errors.Is(err, ErrArtifactMissing) {
		return nil
	}
	if err != nil {
		return err
	}
	if !l.store.owns(at.name) && r.ArtifactModTime != unixSeconds(at.id.modified) {
		return fmt.Errorf("urza: %s was changed since it was recorded", at.name)
	}
	if l.isNamed(at.name) {
		return nil
	}
	return l.store.remove(at.name)
}

// isNamed reports whether a record in the index names a file of the store.
func (l *Library) isNamed(name string) bool {
	base := filepath.Base(name)
	for _, it := range l.index.all() {
		if path := it.entry.ArtifactPath; strings.HasSuffix(path, base) {
			if other, err := l.store.find(path); err == nil && other.name == name {
				return true
			}
		}
	}
	return false
}

// owns reports whether this package made a file, by where it lies and what it is
// called. Others may put files into the artifact directory too.
func (s *store) owns(name string) bool {
	return filepath.Dir(name) == s.dir && isOwnName(filepath.Base(name))
}

// unixSeconds converts nanoseconds as Python does for the times of a file.
func unixSeconds(nanoseconds int64) float64 {
	const perSecond = 1_000_000_000
	return float64(nanoseconds/perSecond) + 1e-9*float64(nanoseconds%perSecond)
}
