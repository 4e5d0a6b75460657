package process

import (
	"runtime"
	"strconv"
	"strings"
)

// Site is a place that allocates.
type Site struct {
	// Stack is the calls that led there, innermost first, as "function:line".
	Stack []string
	// Objects and Bytes were allocated there.
	Objects, Bytes int64
}

// allocations are records of the allocation profile by place.
type allocations map[[32]uintptr]runtime.MemProfileRecord

// sites returns the allocations so far by place. Exact only where
// runtime.MemProfileRate was 1 from the start.
func sites() allocations {
	// A record is complete after two collections.
	runtime.GC()
	runtime.GC()
	n, _ := runtime.MemProfile(nil, true)
	records := make([]runtime.MemProfileRecord, n+200)
	n, _ = runtime.MemProfile(records, true)
	all := make(allocations, n)
	for _, r := range records[:n] {
		sum := all[r.Stack0]
		sum.Stack0 = r.Stack0
		sum.AllocObjects += r.AllocObjects
		sum.AllocBytes += r.AllocBytes
		all[r.Stack0] = sum
	}
	return all
}

// since returns what was allocated since earlier, place by place.
func since(now, earlier allocations) []Site {
	var list []Site
	for key, r := range now {
		objects := r.AllocObjects - earlier[key].AllocObjects
		if objects <= 0 {
			continue
		}
		list = append(list, Site{Stack: symbols(r.Stack()), Objects: objects, Bytes: r.AllocBytes - earlier[key].AllocBytes})
	}
	return list
}

func symbols(pcs []uintptr) []string {
	var names []string
	frames := runtime.CallersFrames(pcs)
	for {
		f, more := frames.Next()
		if f.Function != "" && !strings.HasPrefix(f.Function, "runtime.mallocgc") {
			names = append(names, f.Function+":"+strconv.Itoa(f.Line))
		}
		if !more {
			return names
		}
	}
}
