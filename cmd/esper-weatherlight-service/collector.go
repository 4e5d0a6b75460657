package main

import (
	"os"
	"runtime/debug"
)

// collectAt is how much the heap grows, in percent of what is in use, before the
// garbage collector runs. What a message takes is garbage as soon as it is
// committed, and little else is in use: at 400 instead of Go's 100, a million
// prefetches take 10 to 24 % less of the processor, for 11 to 13 MB more memory
// under load, with a small catalogue.
const collectAt = 400

// tuneCollector sets the collector's pace, unless the environment says something
// of it. A large catalogue counts as in use, with about 450 B per record: whoever
// is short of memory then sets GOGC or GOMEMLIMIT.
func tuneCollector() {
	if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetGCPercent(collectAt)
	}
}
