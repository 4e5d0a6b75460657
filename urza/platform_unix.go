//go:build linux || darwin

package urza

import "syscall"

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

// nonblocking keeps open from waiting for the other end of a fifo.
const nonblocking = syscall.O_NONBLOCK

// isUnsupported reports that the file system cannot sync a folder.
func isUnsupported(err error) bool {
	return errorIsAny(err, syscall.EINVAL, syscall.ENOTSUP)
}
