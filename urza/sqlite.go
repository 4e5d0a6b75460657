package urza

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// DefaultBusyTimeout is how long a catalogue waits for the locks of other
// processes.
const DefaultBusyTimeout = 30 * time.Second

// pageBytes bounds the text that one page of rows holds in memory.
const pageBytes = 4 << 20

// SQLite is a [Catalogue] in an SQLite file that other processes use too.
//
// It keeps to the rollback journal (a file in WAL mode is switched back where
// nobody else has it open), reads in short steps, writes in short immediate
// transactions, and syncs the journal's folder as well, so that a row that was
// reported as saved is not rolled back by a power cut. It uses one connection:
// the version that SQLite reports then moves only by the writes of others.
//
// A file that was replaced, or deleted and made anew, is noticed by its
// identity and opened again. While the file is gone reading fails and Update
// makes a new one.
//
// Nothing else in the process may open and close the file: on POSIX systems
// that would drop SQLite's locks.
type SQLite struct {
	path string
	busy time.Duration

	mu      sync.Mutex  // guards what follows; not held while waiting for locks
	conn    *connection // nil: to be opened
	file    os.FileInfo // the file as of the last look, if conn is not nil
	seen    int64       // data_version of the last look
	version uint64
	closed  bool
}

// OpenSQLite opens the file at path, and makes it, its folders and its table if
// they are missing. Zero busy means [DefaultBusyTimeout]; it bounds every wait
// for other processes, as the context of a call does.
func OpenSQLite(ctx context.Context, path string, busy time.Duration) (*SQLite, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("urza: catalogue: %w", err)
	}
	if busy <= 0 {
		busy = DefaultBusyTimeout
	}
	s := &SQLite{path: absolute, busy: busy}
	if err := s.retry(ctx, func() error { return s.prepare(ctx, true) }); err != nil {
		s.Close()
		return nil, fmt.Errorf("urza: open catalogue %s: %w", path, err)
	}
	return s, nil
}

// prepare makes s.conn a connection to the file that is at the path now. It is
// called with mu held, as every function that retry runs.
func (s *SQLite) prepare(ctx context.Context, create bool) error {
	if s.closed {
		return ErrClosed
	}
	now, err := os.Stat(s.path)
	if errors.Is(err, fs.ErrNotExist) && create {
		return s.reopen(ctx)
	}
	if err != nil {
		return err
	}
	if s.conn == nil || !os.SameFile(now, s.file) {
		return s.reopen(ctx)
	}
	return nil
}

// reopen opens the file afresh. That moves the version: nothing is known about
// the rows of another file.
func (s *SQLite) reopen(ctx context.Context) error {
	s.drop()
	s.version++
	if err := os.MkdirAll(filepath.Dir(s.path), 0o755); err != nil {
		return err
	}
	conn, err := connect(ctx, s.path)
	if err != nil {
		return err
	}
	if s.file, err = os.Stat(s.path); err == nil {
		s.seen, err = conn.dataVersion()
	}
	if err != nil {
		conn.close()
		return err
	}
	s.conn = conn
	return nil
}

func (s *SQLite) drop() {
	if s.conn != nil {
		s.conn.close() // nothing is open in it that could be lost
		s.conn = nil
	}
}

// Version implements [Catalogue].
func (s *SQLite) Version(ctx context.Context) (uint64, error) {
	var version uint64
	err := s.retry(ctx, func() error {
		if err := s.prepare(ctx, false); err != nil {
			return err
		}
		now, err := os.Stat(s.path)
		if err != nil {
			return err
		}
		data, err := s.conn.dataVersion()
		if err != nil {
			return err
		}
		touched := !now.ModTime().Equal(s.file.ModTime()) || now.Size() != s.file.Size()
		switch {
		case data != s.seen:
			s.version++
		case touched: // overwritten in place: what SQLite has cached may be wrong
			if err := s.reopen(ctx); err != nil {
				return err
			}
			now, data = s.file, s.seen
		}
		s.file, s.seen, version = now, data, s.version
		return nil
	})
	return version, err
}

// Row implements [Catalogue].
func (s *SQLite) Row(ctx context.Context, blueprintID string) (row Row, found bool, err error) {
	err = s.retry(ctx, func() error {
		if err := s.prepare(ctx, false); err != nil {
			return err
		}
		row, found, err = s.conn.row(blueprintID)
		return err
	})
	return row, found, err
}

// Page implements [Catalogue]. A page ends early where its rows are large.
func (s *SQLite) Page(ctx context.Context, after string, limit int) (rows []Row, err error) {
	err = s.retry(ctx, func() error {
		if err := s.prepare(ctx, false); err != nil {
			return err
		}
		rows, err = s.conn.page(after, max(limit, 1))
		return err
	})
	return rows, err
}

// Update implements [Catalogue].
func (s *SQLite) Update(ctx context.Context, blueprintID string, change func(old *Row) (*Row, error)) error {
	return s.retry(ctx, func() error {
		if err := s.prepare(ctx, true); err != nil {
			return err
		}
		if err := s.conn.begin(); err != nil {
			return err
		}
		wrote, err := s.conn.change(blueprintID, change)
		if err == nil && wrote {
			err = s.commit(ctx)
		}
		if err != nil || !wrote {
			return errors.Join(err, s.conn.rollback())
		}
		return s.afterCommit()
	})
}

// commit waits for readers in place: the lock that SQLite holds meanwhile keeps
// new ones out.
func (s *SQLite) commit(ctx context.Context) error {
	wait := newBackoff(s.busy)
	for {
		err := s.conn.commit()
		if err == nil || !isBusy(err) || !wait.next(ctx) {
			return err
		}
	}
}

// afterCommit remembers how our own write left the file, so that the write is
// not taken for somebody else's. If there is another file by now the row went
// into one that nobody will read: it is written again.
func (s *SQLite) afterCommit() error {
	now, err := os.Stat(s.path)
	if err != nil || !os.SameFile(now, s.file) {
		return errReplaced
	}
	s.file = now
	return nil
}

// Close implements [Catalogue].
func (s *SQLite) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.drop()
	return nil
}

var _ Catalogue = (*SQLite)(nil)
var _ Catalogue = (*Memory)(nil)
