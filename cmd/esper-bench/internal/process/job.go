// Package process runs one side of the work in a process of its own, so that its
// CPU time, its allocations and its profiles are exactly its own.
package process

import (
	"path/filepath"
	"strings"

	"github.com/esper-lite/esper/cmd/esper-bench/internal/contender"
)

// Command is the first argument that makes the bench's binary a child.
const Command = "child"

// Role is what a child does.
type Role string

// The roles.
const (
	Serve  Role = "serve"  // answers requests
	Follow Role = "follow" // reads all answers and does nothing with them
)

// Job is what a child is told, as JSON in its second argument.
type Job struct {
	Role     Role
	Kind     string
	Options  contender.Options
	Profiles Profiles
	// CountAllocs notes every allocation with its place, which makes the child
	// slow.
	CountAllocs bool
	// MaxProcs is GOMAXPROCS of the child; zero leaves it.
	MaxProcs int
}

// Profiles are the files that a child writes, "" for none. They cover what was
// done between the calls of [Child.Mark] and [Child.Report].
type Profiles struct {
	CPU, Mem, Mutex, Block, Trace string
}

// Of returns the names of one kind's files: the kind stands before the
// extension.
func (p Profiles) Of(kind string) Profiles {
	for _, path := range []*string{&p.CPU, &p.Mem, &p.Mutex, &p.Block, &p.Trace} {
		if *path != "" {
			ext := filepath.Ext(*path)
			*path = strings.TrimSuffix(*path, ext) + "." + kind + ext
		}
	}
	return p
}
