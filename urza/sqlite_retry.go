package urza

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"modernc.org/sqlite"
)

// SQLite's result codes that this package acts on.
const (
	sqliteBusy     = 5
	sqliteLocked   = 6
	sqliteReadOnly = 8
	sqliteProtocol = 15
	sqliteMoved    = sqliteReadOnly | 4<<8 // READONLY_DBMOVED
)

var errReplaced = errors.New("urza: catalogue file was replaced")

func sqliteCode(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code()
	}
	return 0
}

// isBusy reports whether another process holds the lock that was needed.
func isBusy(err error) bool {
	switch sqliteCode(err) & 0xff {
	case sqliteBusy, sqliteLocked, sqliteProtocol:
		return true
	}
	return false
}

// retry runs try with mu held until it succeeds, fails for good, or the busy
// timeout is over. It lets go of mu while it waits, so that readers of this
// process get in while a writer waits for another process.
func (s *SQLite) retry(ctx context.Context, try func() error) error {
	wait := newBackoff(s.busy)
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		err := s.once(try)
		if err == nil {
			return nil
		}
		if e, ok := errors.AsType[*changeError](err); ok {
			return e.err
		}
		again := isBusy(err) || sqliteCode(err) == sqliteMoved || errors.Is(err, errReplaced)
		if again && wait.next(ctx) {
			continue
		}
		return cmp.Or(context.Cause(ctx), err)
	}
}

func (s *SQLite) once(try func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := try()
	if err != nil && !isBusy(err) {
		if _, ok := errors.AsType[*changeError](err); !ok {
			s.drop() // whatever is wrong with the connection, start with a new one
		}
	}
	return err
}

// backoff waits for locks: often at first, then about every 20 ms, with jitter
// so that two processes do not keep step.
type backoff struct {
	deadline time.Time
	step     time.Duration
}

func newBackoff(total time.Duration) *backoff {
	return &backoff{deadline: time.Now().Add(total), step: time.Millisecond}
}

// next waits, and reports whether to try again.
func (b *backoff) next(ctx context.Context) bool {
	if !time.Now().Before(b.deadline) {
		return false
	}
	timer := time.NewTimer(b.step/2 + rand.N(b.step))
	defer timer.Stop()
	b.step = min(2*b.step, 20*time.Millisecond)
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
