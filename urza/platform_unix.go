//go:build linux || darwin

package urza

import (
	"io/fs"
	"os"
	"syscall"
)

// freeBytes returns what an unprivileged user may still write below dir.
func freeBytes(dir string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}

func isFull(err error) bool {
	return errorIsAny(err, syscall.ENOSPC, syscall.EDQUOT)
}

// giveTo gives f, which root has made, to whoever owns the folder: a service that
// is not root must be able to read what root adds to its library. A root who may
// not do that keeps it.
func giveTo(f *os.File, folder fs.FileInfo) {
	owner, ok := folder.Sys().(*syscall.Stat_t)
	if ok && os.Geteuid() == 0 && (owner.Uid != 0 || owner.Gid != 0) {
		_ = f.Chown(int(owner.Uid), int(owner.Gid))
	}
}

// nonblocking keeps open from waiting for the other end of a fifo.
const nonblocking = syscall.O_NONBLOCK

// isUnsupported reports that the file system cannot sync a folder.
func isUnsupported(err error) bool {
	return errorIsAny(err, syscall.EINVAL, syscall.ENOTSUP)
}
