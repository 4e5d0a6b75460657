package urza

import (
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
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

// folders has the folder that was looked into last. The zero value has none.
type folders struct{ last atomic.Pointer[folder] }

// stat is Stat of root, of a folder that may have been exchanged up to folderAge
// before now.
func (f *folders) stat(root *os.Root, name string, now time.Time) (fs.FileInfo, error) {
	dir, base := filepath.Split(name)
	if at := f.in(root, dir, now); at != nil {
		// A link that leads out of its folder is for the root.
		if info, err := at.root.Stat(base); err == nil {
			return info, nil
		}
	}
	return root.Stat(name)
}

// in returns an open folder; nil for the root itself and for one that does not open.
func (f *folders) in(root *os.Root, dir string, now time.Time) *folder {
	if dir == "" {
		return nil
	}
	if last := f.last.Load(); last != nil && last.name == dir {
		if age := now.Sub(last.opened); age >= 0 && age < folderAge {
			return last
		}
	}
	opened, err := root.OpenRoot(dir)
	if err != nil {
		return nil
	}
	at := &folder{dir, opened, now}
	f.replace(at)
	return at
}

// replace lets go of the folder before. Who looks into it just now is not disturbed.
func (f *folders) replace(at *folder) {
	if old := f.last.Swap(at); old != nil {
		old.root.Close()
	}
}

// close lets go of the last folder.
func (f *folders) close() { f.replace(nil) }
