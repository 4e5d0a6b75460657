package urza

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// quarantineDir is the folder in the artifact directory that maintenance moves
// files to. Nothing in it is ever served or removed by this package.
const quarantineDir = "quarantine"

// dispose deletes a file of the store or moves it to the quarantine.
func (m *maintenance) dispose(name string) error {
	switch m.options.Disposal {
	case Delete:
		return m.library.store.remove(name)
	case Quarantine:
		return m.library.store.quarantine(name)
	default:
		return nil
	}
}

func (s *store) quarantine(name string) error {
	to, err := s.quarantineName(filepath.Base(name))
	if err != nil {
		return err
	}
	if err := s.root.Load().Rename(name, to); err != nil {
		return fmt.Errorf("urza: quarantine: %w", err)
	}
	return errors.Join(s.syncDir(filepath.Dir(to)), s.syncDir(filepath.Dir(name)))
}

// quarantineName returns a free name in the quarantine, which it makes first if
// it is missing.
func (s *store) quarantineName(base string) (string, error) {
	dir, root := filepath.Join(s.dir, quarantineDir), s.root.Load()
	if err := root.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("urza: quarantine: %w", err)
	}
	stamp := time.Now().UTC().Format("20060102T150405Z-")
	name := filepath.Join(dir, stamp+base)
	for i := 2; ; i++ {
		if _, err := root.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			return name, nil
		} else if err != nil {
			return "", fmt.Errorf("urza: quarantine: %w", err)
		}
		name = filepath.Join(dir, stamp+strconv.Itoa(i)+"-"+base)
	}
}

// quarantineRow keeps a row that is about to be deleted, as a JSON file named
// for the artifact.
func (m *maintenance) quarantineRow(row *Row, artifact string) error {
	text, err := json.MarshalIndent(map[string]string{
		"blueprint_id":  row.BlueprintID,
		"name":          row.Name,
		"tier":          row.Tier,
		"artifact_path": row.ArtifactPath,
		"metadata_json": row.Metadata,
	}, "", "  ")
	if err != nil {
		return err
	}
	s := m.library.store
	name, err := s.quarantineName(filepath.Base(artifact) + ".json")
	if err != nil {
		return err
	}
	f, err := s.root.Load().OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("urza: quarantine: %w", err)
	}
	_, err = f.Write(append(text, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("urza: quarantine: %w", err)
	}
	return s.syncDir(filepath.Dir(name))
}

// disposePending disposes of a pending save, which may lie outside the root.
func (m *maintenance) disposePending(path string) error {
	switch m.options.Disposal {
	case Delete:
		return os.Remove(path)
	case Quarantine:
		to, err := m.library.store.quarantineName(pendingName)
		if err != nil {
			return err
		}
		if err := os.Rename(path, filepath.Join(m.library.store.top, to)); err != nil {
			return fmt.Errorf("urza: quarantine: %w", err)
		}
	}
	return nil
}

// isOld reports whether a file has been left alone for so long.
func isOld(path string, age time.Duration) (bool, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return false, err
	}
	return time.Since(info.ModTime()) >= age, nil
}
