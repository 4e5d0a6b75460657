//go:build !linux && !darwin

package urza

import "io/fs"

// identify knows size and modification time only; the scrubber finds what
// keeps both.
func identify(info fs.FileInfo) identity {
	return identity{size: info.Size(), modified: info.ModTime().UnixNano()}
}
