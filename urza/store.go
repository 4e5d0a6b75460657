package urza

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
)

// store is the folder tree that artifacts lie in. It opens files through an
// os.Root, so no link that appears between a check and its use leads outside.
type store struct {
	workDir string // absolute
	top     string // library root, absolute
	dir     string // folder of new artifacts, relative to the root
	prefix  string // folder of new artifacts as rows name it, with a slash
	maxSize int64  // negative: no limit
	reserve int64

	root   atomic.Pointer[os.Root]
	folder atomic.Pointer[folder] // that was looked into last, or nil
}

func openStore(cfg Config) (*store, error) {
	dir := cfg.absolute(cfg.ArtifactDir)
	s := &store{
		workDir: cfg.WorkDir,
		top:     filepath.Dir(dir),
		dir:     filepath.Base(dir),
		prefix:  filepath.ToSlash(filepath.Clean(cfg.ArtifactDir)) + "/",
		maxSize: cfg.MaxArtifactBytes,
		reserve: max(cfg.MinFreeBytes, 0),
	}
	if err := os.MkdirAll(s.top, 0o755); err != nil {
		return nil, fmt.Errorf("%w %s: library root: %w", ErrArtifactDir, dir, err)
	}
	root, err := os.OpenRoot(s.top)
	if err != nil {
		return nil, fmt.Errorf("%w %s: library root: %w", ErrArtifactDir, dir, err)
	}
	s.root.Store(root)
	if err := s.makeDir(); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *store) close() error {
	defer s.replaceFolder(nil)
	return s.root.Load().Close()
}

// makeDir makes the folder of new artifacts. One that is there already has to
// be inside the root, which is what requesters of artifacts rely on.
func (s *store) makeDir() error {
	root := s.root.Load()
	info, err := root.Stat(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err := root.Mkdir(s.dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%w %s: %w", ErrArtifactDir, filepath.Join(s.top, s.dir), err)
		}
		return s.syncDir(".")
	}
	if err == nil && !info.IsDir() {
		err = errors.New("not a directory")
	}
	if err != nil {
		return fmt.Errorf("%w %s: %w", ErrArtifactDir, filepath.Join(s.top, s.dir), err)
	}
	return nil
}

// locate returns the name, relative to the root, of an artifact path as a row
// has it. It looks at files only where the path itself does not tell.
func (s *store) locate(path string) (string, error) {
	if path == "" || strings.ContainsRune(path, 0) {
		return "", fmt.Errorf("%w: %w: path %q", ErrArtifactMissing, ErrOutsideRoot, path)
	}
	full := path
	if !filepath.IsAbs(path) {
		full = s.workDir + string(filepath.Separator) + path
	}
	if hasDotDot(path) {
		// Where .. leads depends on links, and a reader of the row will follow
		// them: so do we, instead of shortening the text.
		return s.resolve(full)
	}
	name, err := filepath.Rel(s.top, full)
	if err == nil && filepath.IsLocal(name) {
		return name, nil
	}
	return s.resolve(full) // the root may have another name, through a link
}

func hasDotDot(path string) bool {
	for part := range strings.SplitSeq(filepath.ToSlash(path), "/") {
		if part == ".." {
			return true
		}
	}
	return false
}

// resolve is locate with every link followed.
func (s *store) resolve(full string) (string, error) {
	top, err := filepath.EvalSymlinks(s.top)
	if err != nil {
		return "", fmt.Errorf("%w: library root: %w", ErrArtifactMissing, err)
	}
	real, err := filepath.EvalSymlinks(full)
	if err != nil {
		if name, relErr := filepath.Rel(s.top, filepath.Clean(full)); relErr != nil || !filepath.IsLocal(name) {
			return "", fmt.Errorf("%w: %w: %w", ErrArtifactMissing, ErrOutsideRoot, err)
		}
		return "", fmt.Errorf("%w: %w", ErrArtifactMissing, err)
	}
	name, err := filepath.Rel(top, real)
	if err != nil || !filepath.IsLocal(name) {
		return "", fmt.Errorf("%w: %w: %s", ErrArtifactMissing, ErrOutsideRoot, real)
	}
	return name, nil
}

// found is a file that was there a moment ago.
type found struct {
	name string // relative to the root
	id   identity

	// direct says that name is what the path says. Otherwise links were
	// followed to it, and may lead elsewhere the next time.
	direct bool
}

// find returns the artifact at a path as a row has it.
func (s *store) find(path string) (found, error) {
	name, err := s.locate(path)
	if err != nil {
		return found{}, err
	}
	direct := !hasDotDot(path)
	info, err := s.root.Load().Stat(name)
	if err != nil {
		// A link to an absolute path inside is refused by os.Root but allowed
		// by the contract; a root that was replaced is another one to it.
		s.reopen()
		if name, err = s.resolve(filepath.Join(s.top, name)); err != nil {
			return found{}, err
		}
		if info, err = s.root.Load().Stat(name); err != nil {
			return found{}, fmt.Errorf("%w: %w", ErrArtifactMissing, err)
		}
		direct = false
	}
	if !info.Mode().IsRegular() {
		return found{}, fmt.Errorf("%w: %s is not a regular file", ErrArtifactMissing, path)
	}
	return found{name, identify(info), direct}, nil
}

// reopen follows a library root that was moved away and made anew. Whoever
// holds the old one finishes with it; the garbage collector closes it.
func (s *store) reopen() {
	old := s.root.Load()
	held, err := old.Stat(".")
	if err != nil {
		return
	}
	if now, err := os.Stat(s.top); err != nil || os.SameFile(held, now) {
		return
	}
	if root, err := os.OpenRoot(s.top); err == nil && !s.root.CompareAndSwap(old, root) {
		root.Close()
	}
}

// open opens a file that find has named. The file may have been exchanged in
// between, so its kind is looked at again, after an open that cannot hang.
func (s *store) open(name string) (*os.File, identity, error) {
	f, err := s.root.Load().OpenFile(name, os.O_RDONLY|nonblocking, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, identity{}, fmt.Errorf("%w: %w", ErrArtifactMissing, err)
	}
	if err != nil {
		return nil, identity{}, fmt.Errorf("urza: open artifact: %w", err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%w: %s is not a regular file", ErrArtifactMissing, name)
	}
	if err != nil {
		f.Close()
		return nil, identity{}, err
	}
	return f, identify(info), nil
}

// remove deletes a file that find has named and syncs its folder.
func (s *store) remove(name string) error {
	if err := s.root.Load().Remove(name); err != nil {
		return fmt.Errorf("urza: remove artifact: %w", err)
	}
	return s.syncDir(filepath.Dir(name))
}

// syncDir makes what happened to the names in a folder survive a power cut.
func (s *store) syncDir(name string) error {
	dir, err := s.root.Load().Open(name)
	if err != nil {
		return fmt.Errorf("urza: sync folder: %w", err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil && !isUnsupported(err) {
		return fmt.Errorf("urza: sync folder: %w", err)
	}
	return nil
}

func errorIsAny(err error, targets ...error) bool {
	for _, target := range targets {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}
