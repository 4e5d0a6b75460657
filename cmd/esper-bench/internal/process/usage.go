package process

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// Usage is what a process used.
type Usage struct {
	CPU      time.Duration
	Mallocs  int64 // objects allocated
	Bytes    int64 // allocated
	GCs      int64
	Resident int64 // bytes of memory, now
	// Sites are the allocations by place, where they were counted.
	Sites []Site `json:",omitempty"`
}

// Measure returns what this process used so far. It stops the world for a
// moment.
func Measure() Usage {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return Usage{
		CPU:      cpuTime(),
		Mallocs:  int64(m.Mallocs),
		Bytes:    int64(m.TotalAlloc),
		GCs:      int64(m.NumGC),
		Resident: Resident(os.Getpid()),
	}
}

// Since returns what was used since an earlier measurement.
func (u Usage) Since(earlier Usage) Usage {
	u.CPU -= earlier.CPU
	u.Mallocs -= earlier.Mallocs
	u.Bytes -= earlier.Bytes
	u.GCs -= earlier.GCs
	return u
}

// Plus returns the sum of two processes' usage.
func (u Usage) Plus(other Usage) Usage {
	u.CPU += other.CPU
	u.Mallocs += other.Mallocs
	u.Bytes += other.Bytes
	u.GCs += other.GCs
	u.Resident += other.Resident
	u.Sites = append(u.Sites, other.Sites...)
	return u
}

// Resident returns the resident memory of a process in bytes, 0 where /proc does
// not tell.
func Resident(pid int) int64 {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize())
}
