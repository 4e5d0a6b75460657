package urza

import (
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// folderAge is how long a folder is taken for the one of its name. Together with
// lookInterval it is what the manual of AnswerKnown says.
const folderAge = 10 * time.Millisecond

// folder is a folder of the library that is open: to look at a file in it is one
// system call, where it is three from the root, and a library has most of its files
// in one.
type folder struct {
	name   string // relative to the root
	root   *os.Root
	opened time.Time
}

// look is Stat of the root, by way of a folder that may have been exchanged up to
// folderAge before now.
func (s *store) look(name string, now time.Time) (fs.FileInfo, error) {
	root := s.root.Load()
	dir, base := filepath.Split(name)
	if f := s.openFolder(root, dir, now); f != nil {
		// A link that leads out of its folder is for the root.
		if info, err := f.root.Stat(base); err == nil {
			return info, nil
		}
	}
	return root.Stat(name)
}

// openFolder returns an open folder; nil for the root itself and for one that does
// not open.
func (s *store) openFolder(root *os.Root, dir string, now time.Time) *folder {
	if dir == "" {
		return nil
	}
	if f := s.folder.Load(); f != nil && f.name == dir {
		if age := now.Sub(f.opened); age >= 0 && age < folderAge {
			return f
		}
	}
	opened, err := root.OpenRoot(dir)
	if err != nil {
		return nil
	}
	f := &folder{dir, opened, now}
	s.replaceFolder(f)
	return f
}

// replaceFolder lets go of the folder before, if there is one. Who looks into it just
// now is not disturbed.
func (s *store) replaceFolder(f *folder) {
	if old := s.folder.Swap(f); old != nil {
		old.root.Close()
	}
}
