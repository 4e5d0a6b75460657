package urza

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// draftPrefix begins the names of files that are being written. What a crash
// leaves of them is never whole and never named by a row.
const draftPrefix = ".draft-"

// draft is an artifact that is written but not yet part of the library.
type draft struct {
	store     *store
	temporary string   // relative to the root
	name      string   // final name, relative to the root
	sum       string   // hex SHA-256
	modified  int64    // Unix nanoseconds
	placed    bool     // it has its final name
	id        identity // as of its final name
}

// room reports whether an artifact of a size, or of an unknown one (-1), may be
// written.
func (s *store) room(size int64) error {
	if s.maxSize >= 0 && size > s.maxSize {
		return fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, size, s.maxSize)
	}
	free, err := freeBytes(filepath.Join(s.top, s.dir))
	if err != nil {
		return fmt.Errorf("urza: free space: %w", err)
	}
	if need := max(size, 0) + s.reserve; free < need {
		return fmt.Errorf("%w: %d bytes free, %d needed", ErrNoSpace, free, need)
	}
	return nil
}

// write copies source to a new draft and syncs it. Its folder is not synced:
// a draft need not survive a power cut.
func (s *store) write(ctx context.Context, source io.Reader, size int64, progress func(done, total int64)) (*draft, error) {
	if err := s.makeDir(); err != nil {
		return nil, err
	}
	var random [12]byte
	rand.Read(random[:]) // never fails
	d := &draft{store: s, temporary: filepath.Join(s.dir, draftPrefix+hex.EncodeToString(random[:]))}
	f, err := s.root.Load().OpenFile(d.temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, fmt.Errorf("urza: add: %w", err)
	}
	if folder, err := s.root.Load().Stat(s.dir); err == nil {
		giveTo(f, folder)
	}
	var done int64
	d.sum, _, err = copyHashed(ctx, f, source, func(n int) error {
		if done += int64(n); s.maxSize >= 0 && done > s.maxSize {
			return fmt.Errorf("%w: more than %d bytes", ErrTooLarge, s.maxSize)
		}
		if progress != nil {
			progress(done, size)
		}
		return nil
	})
	if err == nil {
		err = f.Sync()
	}
	if info, statErr := f.Stat(); statErr == nil {
		d.modified = info.ModTime().UnixNano()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		d.discard(true)
		if isFull(err) {
			err = fmt.Errorf("%w: %w", ErrNoSpace, err)
		}
		return nil, fmt.Errorf("urza: add: %w", err)
	}
	return d, nil
}

// place gives the draft its final name, once. It may be called again.
func (d *draft) place() error {
	if d.placed {
		return nil
	}
	root := d.store.root.Load()
	if _, err := root.Lstat(d.name); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("urza: add: %s is taken (%v)", d.name, err)
	}
	if err := root.Rename(d.temporary, d.name); err != nil {
		return fmt.Errorf("urza: add: %w", err)
	}
	d.placed = true
	info, err := root.Lstat(d.name)
	if err != nil {
		return fmt.Errorf("urza: add: %w", err)
	}
	d.id = identify(info)
	return d.store.syncDir(d.store.dir)
}

// path returns the artifact path for the row.
func (d *draft) path() string { return d.store.prefix + filepath.Base(d.name) }

// discard removes a draft that became no artifact. Where it has its final name
// already and it is not certain that no row names it, because the commit itself
// failed, it stays for maintenance to decide. A nil draft is nothing to remove.
func (d *draft) discard(certain bool) {
	if d == nil || d.placed && !certain {
		return
	}
	name := d.temporary
	if d.placed {
		name = d.name
	}
	d.store.root.Load().Remove(name) // maintenance removes what stays
}

func isDraft(name string) bool { return strings.HasPrefix(name, draftPrefix) }
