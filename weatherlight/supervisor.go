package weatherlight

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Defaults of a [Config].
const (
	defaultBootTimeout     = 30 * time.Second
	defaultShutdownTimeout = 10 * time.Second
)

// Strategy says whom the failure of a worker concerns.
type Strategy uint8

const (
	// OneForOne restarts the worker that failed; the others do not notice.
	OneForOne Strategy = iota
	// OneForAll stops the others, in reverse order, and then, after the
	// failed worker's backoff, starts all of them again, in order. Workers
	// that had ended, or were stopped or parked, stay so. To treat only some
	// workers like that, put them into a supervisor of their own.
	OneForAll
)

// Config configures a [Supervisor]. The zero Config is a good one.
type Config struct {
	// Strategy is whom the failure of a worker concerns. Zero means OneForOne.
	Strategy Strategy
	// BootTimeout is how long the workers that are there when Run is called
	// may take until all of them are ready. Workers that fail in that time
	// are restarted as always. Zero means 30s; negative means for ever.
	BootTimeout time.Duration
	// ShutdownTimeout bounds the stop of all workers together. One whose turn
	// comes when r of it is left, and which is After a chain of k others, gets
	// r/(k+1) at most, so that a slow worker leaves time to those that are
	// stopped after it. Zero means 10s. A nested supervisor takes at most nine
	// tenths of what the one above it grants, so that its report is in time.
	ShutdownTimeout time.Duration
	// Logger receives what happens while Run runs, as [LogEvents] writes it,
	// from a goroutine that workers do not wait for: failures, restarts, and
	// how Run ends. Nil discards. One supervisor of a tree needs it, the
	// topmost: it covers all below.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	c.BootTimeout = cmp.Or(c.BootTimeout, defaultBootTimeout)
	c.ShutdownTimeout = cmp.Or(c.ShutdownTimeout, defaultShutdownTimeout)
	return c
}

// A Supervisor starts workers in order, keeps them up, and stops them in
// reverse order. Make one with [New]; all methods may be called from any
// goroutine. A Supervisor is a [Worker], and one with a method RunReady: it is
// ready when all its workers are. So supervisors nest, and what one reports
// covers all below it.
type Supervisor struct {
	cfg   Config
	epoch time.Time     // what a phase counts from
	wake  chan struct{} // tells Run to look at fatal, pending, round and alive

	figures figures
	events  broadcast
	parent  atomic.Pointer[Supervisor]
	nested  atomic.Pointer[[]*Supervisor] // copied on write

	mu         sync.RWMutex // before Handle.mu and before mu of nested supervisors
	prefix     string       // of the paths of the workers: empty, or ends in "/"
	workers    roster
	lastPolicy *policy
	running    bool
	base       context.Context // of the lives of workers, while running
	alive      int             // workers with a goroutine that is not given up
	pending    int             // workers that boot waits for
	fatal      error           // why Run must end
	round      *round          // of a OneForAll supervisor, wanted or under way
	plan       *plan           // of the stop that is under way
	abandoned  map[*life]struct{}
}

// New returns a supervisor without workers, or an error that says what is wrong
// with cfg.
func New(cfg Config) (*Supervisor, error) {
	if cfg.Strategy > OneForAll {
		return nil, errors.New("weatherlight: Config.Strategy is unknown")
	}
	if cfg.ShutdownTimeout < 0 {
		return nil, errors.New("weatherlight: Config.ShutdownTimeout is negative")
	}
	return &Supervisor{
		cfg:   cfg.withDefaults(),
		epoch: time.Now(),
		wake:  make(chan struct{}, 1),
	}, nil
}

// Add adds a worker. If the supervisor runs, the worker is started at once, or
// as soon as the workers that it is After are ready. They must exist when the
// supervisor runs; before that, they may be added later.
//
// The error is [ErrDuplicate], [ErrUnknown] while the supervisor runs (before that
// it is Run that returns it), or says what is wrong with spec. A
// nested supervisor must not run ([ErrRunning]) nor be part of a tree already.
func (s *Supervisor) Add(spec Spec) (*Handle, error) {
	if err := spec.validate(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.workers.find(spec.Name) != nil {
		return nil, fmt.Errorf("%w: %q", ErrDuplicate, spec.Name)
	}
	w := newHandle(s, spec)
	if s.running {
		if err := s.linkLocked(w); err != nil {
			return nil, err
		}
	}
	if child := nestedIn(spec.Worker); child != nil {
		if err := s.adoptLocked(child, w.path); err != nil {
			return nil, err
		}
	}
	s.workers.add(w)
	s.figures.counts[StateWaiting].Add(1)
	if s.running {
		s.joinLocked(w)
	}
	return w, nil
}

// joinLocked starts w, which was added while s runs, as soon as it need not wait.
func (s *Supervisor) joinLocked(w *Handle) {
	if w.links != nil {
		w.links.attach(w)
		for _, dep := range w.links.deps {
			if !dep.ready {
				w.waits++
			}
		}
	}
	if s.plan == nil {
		s.startLocked(w)
	}
}

// sharedPolicyLocked returns p, the same pointer as last time if it is the same
// policy: of thousands of workers most are alike.
func (s *Supervisor) sharedPolicyLocked(p policy) *policy {
	if s.lastPolicy == nil || *s.lastPolicy != p {
		s.lastPolicy = &p
	}
	return s.lastPolicy
}

// notify wakes Run.
func (s *Supervisor) notify() {
	select {
	case s.wake <- struct{}{}:
	default: // it is going to look anyway
	}
}

// since is t as a phase counts it.
func (s *Supervisor) since(t time.Time) time.Duration { return t.Sub(s.epoch) }
