package urza

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/esper-lite/esper/leyline/leylinepb"
)

// Addition is an artifact to be stored, and what is to be recorded about it.
type Addition struct {
	BlueprintID string

	// File is the file to copy. It must be a regular file, and stays where it
	// is. Where Reader is set it only names the extension of the artifact.
	File string

	// Reader, if not nil, is what to copy instead, up to its end. Reads that
	// block are not interrupted by the context.
	Reader io.Reader

	// Descriptor replaces that of the record. Nil keeps it, and makes an
	// empty one for a new record. Its blueprint id may be empty.
	Descriptor *leylinepb.BlueprintDescriptor

	// Update, if not nil, is applied to the record; see [Record.Apply]. A
	// checksum in it has to be that of the artifact. Without it the record
	// keeps its figures; its checksum is the artifact's either way.
	Update *leylinepb.KernelCatalogUpdate

	// Edit, if not nil, changes anything else in the record as it is about to
	// be saved. It may be called more than once, each time with a new record;
	// an error from it ends the addition. It must not use the library.
	Edit func(*Record) error

	// Progress, if not nil, is called as bytes are copied. The total is -1
	// where it is not known.
	Progress func(done, total int64)
}

// Add stores an artifact, and creates the record of its blueprint or brings it
// up to date; the record as it was saved is returned. When Add returns nil,
// file and row are on disk. When it fails, the version from before is still
// there, whole. The file of the version from before is removed in the end,
// unless another record names it too. What root adds belongs to the owner of the
// artifact directory, so that a service that is not root can read it.
//
// Errors: [ErrTooLarge], [ErrNoSpace], *[ChecksumError] for a file that is not
// the one that Update means, [ErrMalformed] for a record that cannot be kept
// because it cannot be read, [ErrUnavailable], [ErrClosed], those of Reader and
// Edit, and those of the file system.
func (l *Library) Add(ctx context.Context, a Addition) (*Record, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	if l.ctx.Err() != nil {
		return nil, ErrClosed
	}
	source, size, err := a.open()
	if err != nil {
		return nil, err
	}
	if closer, ok := source.(io.Closer); ok && a.Reader == nil {
		defer closer.Close()
	}
	if err := l.store.room(size); err != nil {
		return nil, err
	}
	draft, err := l.store.write(ctx, source, size, a.Progress)
	if err != nil {
		return nil, err
	}
	if want := a.Update.GetChecksum(); want != "" && !strings.EqualFold(want, draft.sum) {
		draft.discard(true)
		return nil, &ChecksumError{BlueprintID: a.BlueprintID, Want: want, Got: draft.sum}
	}
	draft.name = filepath.Join(l.store.dir, artifactName(a.BlueprintID, draft.sum, a.File))
	return l.write(ctx, a.BlueprintID, draft, func(r *Record) error { return a.apply(r, draft) })
}

func (a *Addition) check() error {
	if err := checkID(a.BlueprintID); err != nil {
		return err
	}
	for _, id := range [...]string{a.Descriptor.GetBlueprintId(), a.Update.GetBlueprintId()} {
		if id != "" && id != a.BlueprintID {
			return fmt.Errorf("urza: addition of blueprint %q describes %q", a.BlueprintID, id)
		}
	}
	return nil
}

// open returns what to copy, and its size or -1.
func (a *Addition) open() (io.Reader, int64, error) {
	if a.Reader != nil {
		return a.Reader, -1, nil
	}
	f, err := os.OpenFile(a.File, os.O_RDONLY|nonblocking, 0)
	if err != nil {
		return nil, 0, fmt.Errorf("urza: add: %w", err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", a.File)
	}
	if err != nil {
		f.Close()
		return nil, 0, fmt.Errorf("urza: add: %w", err)
	}
	return f, info.Size(), nil
}

// apply makes r the record of the new artifact.
func (a *Addition) apply(r *Record, d *draft) error {
	if a.Descriptor != nil {
		r.Descriptor = proto.CloneOf(a.Descriptor)
		r.Descriptor.BlueprintId = a.BlueprintID
	}
	if a.Update != nil {
		r.Apply(a.Update)
	}
	if a.Edit != nil {
		if err := a.Edit(r); err != nil {
			return err
		}
	}
	r.ArtifactPath = d.path()
	r.ArtifactModTime = unixSeconds(d.modified)
	r.Checksum = d.sum
	return nil
}

// Update changes the record of a blueprint and leaves its artifact alone: what
// edit does to path, time and checksum of the artifact is undone, and the
// record as it was saved is returned. Edit may be called more than once, each
// time with a new record; an error from it ends the update. It must not use the
// library.
//
// Errors: [ErrNotFound], [ErrMalformed], [ErrUnavailable], [ErrClosed], those
// of edit.
func (l *Library) Update(ctx context.Context, blueprintID string, edit func(*Record) error) (*Record, error) {
	return l.write(ctx, blueprintID, nil, func(r *Record) error {
		if r.row == nil {
			return fmt.Errorf("%w: %q", ErrNotFound, blueprintID)
		}
		path, modified, sum := r.ArtifactPath, r.ArtifactModTime, r.Checksum
		if err := edit(r); err != nil {
			return err
		}
		r.ArtifactPath, r.ArtifactModTime, r.Checksum = path, modified, sum
		return nil
	})
}

// write runs edit on the record of a blueprint and saves it. A draft takes its
// final name inside the transaction: a file of that name without a row can then
// only be left over from a crash, never part of a save under way.
func (l *Library) write(ctx context.Context, blueprintID string, d *draft, edit func(*Record) error) (*Record, error) {
	l.takePending(ctx)
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.ctx.Err() != nil {
		return nil, ErrClosed
	}
	var saved Row
	var before *Record
	var refused error
	err := l.catalogue.Update(ctx, blueprintID, func(old *Row) (*Row, error) {
		before, refused = recordFor(blueprintID, old)
		if refused == nil {
			saved, refused = edited(before, edit)
		}
		if refused == nil && d != nil {
			refused = d.place()
		}
		return &saved, refused
	})
	if err != nil {
		d.discard(refused != nil)
		if refused == nil && ctx.Err() == nil {
			err = unavailable(err)
		}
		return nil, err
	}
	l.index.put(l.index.ticket(), saved)
	if d != nil {
		l.afterPlace(saved, d, before)
	}
	return decodeRow(saved)
}

// recordFor returns the record to edit: that of the row, or an empty one.
func recordFor(blueprintID string, old *Row) (*Record, error) {
	if old == nil {
		return NewRecord(blueprintID), nil
	}
	return decodeRow(*old)
}

// edited returns the row for a copy of r that edit has changed.
func edited(r *Record, edit func(*Record) error) (Row, error) {
	id := r.BlueprintID()
	now := r.Clone()
	if err := edit(now); err != nil {
		return Row{}, err
	}
	if now.BlueprintID() != id {
		return Row{}, fmt.Errorf("urza: record of %q cannot become that of %q", id, now.BlueprintID())
	}
	return encodeRow(now)
}

// afterPlace remembers what was hashed while it was written, and removes the
// file of the version before.
func (l *Library) afterPlace(saved Row, d *draft, before *Record) {
	if it := l.index.get(saved.BlueprintID); it != nil && it.entry.ArtifactPath == saved.ArtifactPath {
		it.proof.Store(&proof{name: d.name, id: d.id, sum: d.sum})
	}
	if before.ArtifactPath != "" && before.ArtifactPath != saved.ArtifactPath {
		if err := l.removeArtifact(before); err != nil {
			l.log.Warn("old artifact stays until maintenance", "artifact", before.ArtifactPath, "error", err)
		}
	}
}
