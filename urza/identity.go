package urza

import "time"

// identity tells whether a file is still the one that was hashed. Times are
// Unix nanoseconds; fields that the platform does not have are 0.
type identity struct {
	device, inode     uint64
	size              int64
	modified, changed int64
}

// settled reports whether a file with this identity, hashed from start on,
// would show a later change. File systems stamp with a coarse clock: a write
// in the same tick as the one before leaves the times as they are. A stamp far
// ahead of our clock is another machine's and says nothing.
func (id identity) settled(start time.Time) bool {
	const tick = 20 * time.Millisecond
	last := time.Unix(0, max(id.modified, id.changed))
	age := start.Sub(last)
	return age > tick || age < -time.Second
}
