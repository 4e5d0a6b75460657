package tamiyo

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/esper-lite/esper/oona"
)

// maxApplied is how many digests of applied updates are kept: as many as the
// policy stream keeps updates.
const maxApplied = 64

// State is what a directory holds: one file, replaced as a whole, that names the
// payloads beside it.
type State struct {
	// Current is the policy that runs, Previous the one before; nil where
	// there is none.
	Current  *Update `json:"current"`
	Previous *Update `json:"previous"`
	// Applied are the digests of the updates applied last, oldest first.
	Applied []string `json:"applied"`
	// Newest is when the newest update that was ever applied was issued: the
	// current one, unless that was lost.
	Newest time.Time `json:"newest_issued_at,omitzero"`
	// Cursor is how far the streams were followed.
	Cursor oona.Cursor `json:"cursor"`
}

const (
	stateFile   = "state.json"
	brokenFile  = "state.json.broken"
	payloadGlob = "policy-*.bin"
)

func payloadFile(checksum string) string { return "policy-" + checksum + ".bin" }

func checksumOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// ErrBroken is returned for a directory whose state file cannot be read, or
// whose payloads are not what it says.
var ErrBroken = errors.New("tamiyo: policy directory is broken")

// ReadState reads a directory, with the payloads. An empty or missing directory
// has an empty state. On [ErrBroken] the state holds what could be read: without
// a current policy whose payload is damaged, for example.
func ReadState(dir string) (State, error) {
	s, _, err := readState(dir)
	return s, err
}

// readState is ReadState, and also returns a current policy whose payload is
// damaged, without it.
func readState(dir string) (s State, lost *Update, err error) {
	text, err := os.ReadFile(filepath.Join(dir, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return State{}, nil, nil
	}
	if err != nil {
		return State{}, nil, fmt.Errorf("tamiyo: read: %w", err)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return State{}, nil, fmt.Errorf("%w: %s: %w", ErrBroken, stateFile, err)
	}
	current := s.Current
	var errs []error
	for _, u := range []**Update{&s.Current, &s.Previous} {
		if *u == nil {
			continue
		}
		if (*u).Payload, err = readPayload(dir, (*u).Checksum); err != nil {
			errs = append(errs, err)
			*u = nil
		}
	}
	if s.Current == nil {
		lost = current
	}
	return s, lost, errors.Join(errs...)
}

// withoutLost returns the state as it was before an update was read, so that the
// update is read again from where it was published, if it is there still. What was
// applied before stays known, and so does how new this one was: nothing older may
// take its place.
func (s State) withoutLost(u Update) State {
	if u.Stream == "" {
		return s // nobody wrote down where it was
	}
	cursor := make(oona.Cursor)
	maps.Copy(cursor, s.Cursor)
	cursor[u.Stream] = before(u.At)
	s.Cursor = cursor
	s.Applied = slices.DeleteFunc(slices.Clone(s.Applied), func(digest string) bool { return digest == u.Digest })
	return s
}

// before returns the place in a stream in front of the entry at p.
func before(p oona.Position) oona.Position {
	if p.Index == 1 {
		return oona.Position{} // nothing was ever added before
	}
	p.Index = max(0, p.Index-1)
	if p.ID.Seq--; p.ID.Seq == math.MaxUint64 {
		p.ID.Ms--
	}
	return p
}

// newest returns when the newest update that was applied was issued.
func (s State) newest() time.Time {
	if s.Current != nil && s.Current.IssuedAt.After(s.Newest) {
		return s.Current.IssuedAt
	}
	return s.Newest
}

func readPayload(dir, checksum string) ([]byte, error) {
	if strings.ContainsAny(checksum, `/\`) {
		return nil, fmt.Errorf("%w: checksum %q", ErrBroken, checksum)
	}
	b, err := os.ReadFile(filepath.Join(dir, payloadFile(checksum)))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	if checksumOf(b) != checksum {
		return nil, fmt.Errorf("%w: %s is not what was written", ErrBroken, payloadFile(checksum))
	}
	return b, nil
}

// write replaces the state of a directory: the payloads first, then the file that
// names them, each on disk before the next step. What is not named any more goes
// last. The directory is locked meanwhile: two processes that share it replace
// each other's state, but never half of it.
func (s State) write(dir string) (err error) {
	unlock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	for _, u := range []*Update{s.Current, s.Previous} {
		if u == nil {
			continue
		}
		if err := writeOnce(dir, payloadFile(u.Checksum), u.Payload); err != nil {
			return err
		}
	}
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("tamiyo: write: %w", err)
	}
	if err := replaceFile(dir, stateFile, append(text, '\n')); err != nil {
		return err
	}
	return s.sweep(dir)
}

// readSwept reads a directory that is to be used, and removes what a crash left
// there, unless something is broken and may be wanted for repair.
func readSwept(dir string) (s State, lost *Update, err error) {
	unlock, err := lockDir(dir)
	if err != nil {
		return State{}, nil, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if s, lost, err = readState(dir); err != nil {
		return s, lost, err
	}
	return s, lost, s.sweep(dir)
}

// writeOnce writes a file whose name says what is in it, unless it is there.
func writeOnce(dir, name string, b []byte) error {
	if info, err := os.Stat(filepath.Join(dir, name)); err == nil && info.Size() == int64(len(b)) {
		return nil
	}
	return replaceFile(dir, name, b)
}

// replaceFile puts a file in place whole or not at all, on disk when it returns.
func replaceFile(dir, name string, b []byte) (err error) {
	f, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return fmt.Errorf("tamiyo: write: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("tamiyo: write %s: %w", name, err), os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err = os.Rename(f.Name(), filepath.Join(dir, name)); err != nil {
		return err
	}
	return syncDir(dir)
}

// sweep removes payloads that the state does not name, and what a crash left.
func (s State) sweep(dir string) error {
	var keep []string
	for _, u := range []*Update{s.Current, s.Previous} {
		if u != nil {
			keep = append(keep, payloadFile(u.Checksum))
		}
	}
	for _, pattern := range []string{payloadGlob, ".new-*"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return fmt.Errorf("tamiyo: sweep: %w", err)
		}
		for _, path := range found {
			if slices.Contains(keep, filepath.Base(path)) {
				continue
			}
			if err := os.Remove(path); err != nil {
				return fmt.Errorf("tamiyo: sweep: %w", err)
			}
		}
	}
	return nil
}
