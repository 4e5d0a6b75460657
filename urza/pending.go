package urza

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/esper-lite/esper/leyline/leylinepb"
)

const (
	// pendingName is the file in which the Python side notes a save before it
	// writes the row.
	pendingName = "urza_wal.json"

	// maxPendingBytes bounds what is read of it.
	maxPendingBytes = 64 << 20
)

// takePending applies a save that the Python side left unfinished. It looks in
// the library root and, where that is another folder, beside the catalogue. A
// save that is just under way is applied too: its row is the one that the
// Python side is about to write.
//
// What cannot be applied stays where it is, as on the Python side: the artifact
// may still come. It is reported, and maintenance takes it away when it is old.
func (l *Library) takePending(ctx context.Context) {
	for _, path := range l.pendingPaths {
		if _, err := os.Lstat(path); err != nil {
			continue // as almost always
		}
		l.writing.Lock()
		l.takePendingLocked(ctx, path)
		l.writing.Unlock()
	}
}

// takePendingLocked is takePending for one file; the caller holds writing.
func (l *Library) takePendingLocked(ctx context.Context, path string) {
	err := l.applyPending(ctx, path)
	if err != nil && !errors.Is(err, errTaken) && ctx.Err() == nil {
		l.pendingFailed(path, err)
	}
}

// pendingPaths returns where the Python side may have left a pending save.
func pendingPaths(cfg Config, top string) []string {
	paths := []string{filepath.Join(top, pendingName)}
	if database, err := databasePath(cfg.DatabaseURL); err == nil && database != "" && cfg.Catalogue == nil {
		beside := filepath.Join(filepath.Dir(cfg.absolute(database)), pendingName)
		if beside != paths[0] {
			paths = append(paths, beside)
		}
	}
	return paths
}

// errTaken is returned for a pending save that its writer, or somebody like us,
// was done with in the meantime.
var errTaken = errors.New("urza: pending save is done")

func (l *Library) applyPending(ctx context.Context, path string) error {
	text, err := readPending(path)
	if errors.Is(err, fs.ErrNotExist) {
		return errTaken
	}
	if err != nil {
		return err
	}
	row, err := pendingRow(text)
	if err != nil {
		return err
	}
	if _, err := l.store.find(row.ArtifactPath); err != nil {
		return err
	}
	err = l.catalogue.Update(ctx, row.BlueprintID, func(*Row) (*Row, error) { return &row, nil })
	if err != nil {
		return unavailable(err)
	}
	l.index.put(l.index.ticket(), row)
	// The Python side may have begun its next save: only what was applied goes.
	if now, err := readPending(path); err == nil && now == text {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	l.log.Info("took over a pending save", "blueprint_id", row.BlueprintID, "artifact", row.ArtifactPath)
	return nil
}

func readPending(path string) (string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|nonblocking, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return "", errors.Join(errors.New("pending save is not a regular file"), err)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxPendingBytes+1))
	if err == nil && len(text) > maxPendingBytes {
		err = fmt.Errorf("pending save is larger than %d bytes", maxPendingBytes)
	}
	return string(text), err
}

// pendingRow returns the row that the Python side would have written.
func pendingRow(text string) (Row, error) {
	pending, err := parseObject(text)
	if err != nil {
		return Row{}, fmt.Errorf("pending save: %w", err)
	}
	member := func(name string) string {
		value, _ := pending.get(name)
		return value
	}
	id, err := unquote(member("blueprint_id"))
	if err != nil {
		return Row{}, fmt.Errorf("pending save: blueprint_id: %w", err)
	}
	path, err := unquote(member("artifact_path"))
	if err != nil {
		return Row{}, fmt.Errorf("pending save: artifact_path: %w", err)
	}
	if err := checkID(id); err != nil {
		return Row{}, fmt.Errorf("pending save: %w", err)
	}
	members, err := parseObject(member("descriptor"))
	if err != nil {
		return Row{}, fmt.Errorf("pending save: descriptor: %w", err)
	}
	descriptor, err := decodeDescriptor(&members)
	if err != nil {
		return Row{}, fmt.Errorf("pending save: descriptor: %w", err)
	}
	if descriptor.Tier == leylinepb.BlueprintTier_BLUEPRINT_TIER_UNSPECIFIED {
		descriptor.Tier = leylinepb.BlueprintTier_BLUEPRINT_TIER_SAFE // as the Python side does here, and only here
	}
	descriptor.BlueprintId = id
	if err := encodeDescriptor(&members, descriptor); err != nil {
		return Row{}, err
	}
	if extras := member("extras"); extras != "" {
		members.set(extrasKey, extras)
	}
	row := Row{
		BlueprintID: id, Name: descriptor.Name, Tier: tierText(descriptor.Tier), ArtifactPath: path, Metadata: members.text(),
	}
	if _, err := decodeRow(row); err != nil {
		return Row{}, err
	}
	return row, nil
}

// pendingFailed reports a pending save that cannot be applied, once a minute at
// most.
func (l *Library) pendingFailed(path string, err error) {
	now := time.Now()
	last := l.pendingReported.Load()
	if now.UnixNano()-last <= int64(reportInterval) || !l.pendingReported.CompareAndSwap(last, now.UnixNano()) {
		return
	}
	l.report(IntegrityEvent{Time: now, Kind: KindUnusablePending, ArtifactPath: path, Err: err})
}
