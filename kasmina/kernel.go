package kasmina

import (
	"container/list"
	"errors"
	"sync/atomic"
	"time"
)

// Artifact is a compiled kernel by reference, as a KernelArtifactReady describes
// it. Only this travels on the bus.
type Artifact struct {
	BlueprintID string
	// Ref is the path of the file.
	Ref string
	// Checksum is the lower-case hex SHA-256 of the file.
	Checksum    string
	GuardDigest string
	// PrewarmP50 and PrewarmP95 are the library's figures; 0 where it has none.
	PrewarmP50, PrewarmP95 time.Duration
}

// Program is what a [Runtime] made of an artifact.
type Program interface {
	// Size is how many bytes of memory it takes, for the bound of the cache. It
	// does not change.
	Size() int64
	// Close frees what the program holds. It is called once, when nobody has
	// a reference any more.
	Close() error
}

// Kernel is a reference to a loaded kernel, which may be shared by many. Whoever
// has a reference calls Release when done with it, and not the methods of its
// Program after that. It is safe for concurrent use.
type Kernel struct {
	shared   *shared
	released atomic.Bool
}

// shared is a loaded kernel, of which every Kernel is one reference.
type shared struct {
	artifact    Artifact
	program     Program
	loadTime    time.Duration
	prewarmTime time.Duration
	cause       error  // of a fallback: why the artifact was not loaded
	cache       *Cache // nil for a kernel that no cache made
	refs        atomic.Int64

	// Guarded by Cache.mu; see there.
	current  bool
	counted  bool
	vouched  time.Time
	idleness *list.Element
}

// NewKernel returns a kernel of an embedder's own making, for [Manager.Attach].
// The embedder has verified artifact.Checksum. program is closed when the last
// reference is released.
func NewKernel(artifact Artifact, program Program) *Kernel {
	return newReference(&shared{artifact: artifact, program: program})
}

func newReference(s *shared) *Kernel {
	s.refs.Add(1)
	return &Kernel{shared: s}
}

// Artifact returns what the kernel was made of.
func (k *Kernel) Artifact() Artifact { return k.shared.artifact }

// Program returns what runs.
func (k *Kernel) Program() Program { return k.shared.program }

// LoadTime is how long the runtime took to load it, PrewarmTime how long the
// prewarm hook took; 0 without one.
func (k *Kernel) LoadTime() time.Duration { return k.shared.loadTime }

// PrewarmTime is how long the prewarm hook took; 0 without one.
func (k *Kernel) PrewarmTime() time.Duration { return k.shared.prewarmTime }

// Fallback reports whether this is the fallback, in place of an artifact that
// could not be loaded, and Cause says why; it is nil for any other kernel.
func (k *Kernel) Fallback() bool { return k.shared.cause != nil }

// Cause returns why the artifact of a fallback could not be loaded.
func (k *Kernel) Cause() error { return k.shared.cause }

// Retain returns a further reference. It panics on a reference that was released:
// what it leads to may be gone.
func (k *Kernel) Retain() *Kernel {
	if k.released.Load() {
		panic("kasmina: Retain of a released kernel")
	}
	return newReference(k.shared)
}

// Release gives the reference back. Further calls do nothing.
func (k *Kernel) Release() {
	if k.released.Swap(true) {
		return
	}
	s := k.shared
	switch {
	case s.cache != nil:
		s.cache.release(s)
	case s.refs.Add(-1) == 0 && s.cause == nil:
		_ = s.program.Close() // nobody is left to tell
	}
}

// errNoProgram is the failure of a runtime that returned neither.
var errNoProgram = errors.New("kasmina: runtime returned no program")
