package kasmina

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

// Defaults of [ManagerConfig].
const (
	DefaultMaxSeeds      = 65536
	DefaultEmbargo       = 30 * time.Second
	DefaultLatencyBudget = 100 * time.Millisecond
	DefaultGateTimeout   = 30 * time.Second
)

// Errors of a [Manager].
var (
	// ErrUnknownSeed: the manager has no seed of this name.
	ErrUnknownSeed = errors.New("kasmina: unknown seed")
	// ErrPaused: the seed is paused and does not go on.
	ErrPaused = errors.New("kasmina: seed is paused")
	// ErrChanged: something else happened to the seed while its gate was
	// asked, and the gate's verdict is void.
	ErrChanged = errors.New("kasmina: seed changed meanwhile")
	// ErrEmbargoed: the seed was culled, and its embargo is not over.
	ErrEmbargoed = errors.New("kasmina: seed is embargoed")
	// ErrFull: no room for one more seed, or request.
	ErrFull = errors.New("kasmina: full")
)

// Source is where a [Manager] gets kernels from. A [*Coordinator] is one.
type Source interface {
	// Request asks for the kernel of a blueprint and does not block. done is
	// called once, with a kernel that is then the callee's to release, or
	// with an error; it may be called before Request returns. cancel withdraws
	// the request and reports whether done will not be called any more. When
	// Request returns an error, done is never called.
	Request(want Want, done func(context.Context, *Kernel, error)) (cancel func() bool, err error)
}

// Want says which kernel is asked for.
type Want struct {
	BlueprintID   string
	TrainingRunID string // of whoever asks first, where several do
}

// ManagerConfig configures a [Manager].
type ManagerConfig struct {
	// Kernels is where kernels come from. Nil is for an embedder that attaches
	// them itself, by [Manager.Attach].
	Kernels Source
	// Gates are the embedder's.
	Gates Gates
	// Blueprints lets G0 check what a blueprint demands. Nil means that nothing
	// is known of blueprints but their ids.
	Blueprints Blueprints
	// MaxSeeds bounds the seeds. At the bound a new seed takes the place of the
	// one that has been dormant for longest, which is terminated; when none is
	// dormant, Germinate fails with [ErrFull]. Zero means [DefaultMaxSeeds].
	MaxSeeds int
	// Embargo is how long a culled seed cannot be germinated again. Zero
	// means [DefaultEmbargo]; to have none, set it negative.
	Embargo time.Duration
	// LatencyBudget is the largest latency that G2 lets pass. Zero means
	// [DefaultLatencyBudget].
	LatencyBudget time.Duration
	// GateTimeout bounds one question to a gate. Zero means
	// [DefaultGateTimeout].
	GateTimeout time.Duration
	// Report receives events. Nil discards them.
	Report Report
	// Logger receives what an operator must know. Nil discards.
	Logger *slog.Logger
}

func (c ManagerConfig) withDefaults() (ManagerConfig, error) {
	if c.MaxSeeds < 0 || c.LatencyBudget < 0 || c.GateTimeout < 0 {
		return c, errors.New("kasmina: ManagerConfig with a negative setting")
	}
	c.MaxSeeds = cmp.Or(c.MaxSeeds, DefaultMaxSeeds)
	c.Embargo = max(0, cmp.Or(c.Embargo, DefaultEmbargo))
	c.LatencyBudget = cmp.Or(c.LatencyBudget, DefaultLatencyBudget)
	c.GateTimeout = cmp.Or(c.GateTimeout, DefaultGateTimeout)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// Manager keeps seeds and moves them along their lifecycle. It is safe for
// concurrent use. Its methods block only for the gates that they ask.
//
// Seeds live in memory: a process that ends takes them along.
type Manager struct {
	cfg      ManagerConfig
	events   *eventQueue
	greeting sync.Once // of the first Run

	mu     sync.Mutex
	seeds  map[string]*seed
	idle   *list.List // dormant seeds, the longest dormant first
	counts managerCounts
	after  []func() // what the present holder of mu leaves for unlock
}

// NewManager returns a manager without seeds, or an error that says what is
// wrong with cfg.
func NewManager(cfg ManagerConfig) (*Manager, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Manager{
		cfg:    cfg,
		events: newEventQueue(cfg.Report),
		seeds:  make(map[string]*seed),
		idle:   list.New(),
	}, nil
}

// unlock ends a critical section and then does what must not be done in it:
// release kernels, withdraw requests, tell events.
func (m *Manager) unlock() {
	after := m.after
	m.after = nil
	m.mu.Unlock()
	for _, f := range after {
		f()
	}
	m.events.deliver()
}

// findLocked returns the seed of a name.
func (m *Manager) findLocked(id string) (*seed, error) {
	s := m.seeds[id]
	if s == nil {
		return nil, fmt.Errorf("%w: %q", ErrUnknownSeed, id)
	}
	return s, nil
}

// moveLocked moves a seed along the table and tells it. A move that the table
// does not have changes nothing.
func (m *Manager) moveLocked(s *seed, to pb.SeedLifecycleStage, reason string) error {
	from := s.stage
	if !s.move(to) {
		return &StageError{SeedID: s.id, From: from, To: to}
	}
	s.since = time.Now()
	s.touch()
	m.counts.moves++
	if s.idle != nil {
		m.idle.Remove(s.idle)
		s.idle = nil
	}
	if to == dormant {
		s.idle = m.idle.PushBack(s)
	}
	if to == terminated {
		delete(m.seeds, s.id)
	}
	m.events.add(stageEvent(s, from, reason))
	return nil
}

// dropLocked lets go of kernel and request.
func (m *Manager) dropLocked(s *seed) {
	if r := s.waiting; r != nil {
		s.waiting = nil
		if r.withdraw != nil {
			m.after = append(m.after, func() { r.withdraw() })
		}
	}
	if kernel := s.kernel; kernel != nil {
		s.kernel = nil
		m.after = append(m.after, kernel.Release)
	}
	s.observed = 0
}

// makeRoomLocked makes room for one more seed.
func (m *Manager) makeRoomLocked() error {
	if len(m.seeds) < m.cfg.MaxSeeds {
		return nil
	}
	oldest := m.idle.Front()
	if oldest == nil {
		return fmt.Errorf("%w: %d seeds, and none is dormant", ErrFull, len(m.seeds))
	}
	return m.moveLocked(oldest.Value.(*seed), terminated, "room for another seed")
}

// Seed returns a seed, and false where there is none of this name.
func (m *Manager) Seed(id string) (Seed, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.seeds[id]
	if s == nil {
		return Seed{}, false
	}
	return s.view(), true
}

// Seeds returns every seed, ordered by id.
func (m *Manager) Seeds() []Seed {
	m.mu.Lock()
	all := make([]Seed, 0, len(m.seeds))
	for _, s := range m.seeds {
		all = append(all, s.view())
	}
	m.mu.Unlock()
	slices.SortFunc(all, func(a, b Seed) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// Has reports whether there is a seed of this name, in whatever stage.
func (m *Manager) Has(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.seeds[id] != nil
}

// Kernel returns a reference to the kernel of a seed; the caller releases it. It
// fails where the seed has none.
func (m *Manager) Kernel(id string) (*Kernel, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.findLocked(id)
	if err != nil {
		return nil, err
	}
	if s.kernel == nil {
		return nil, fmt.Errorf("kasmina: seed %q has no kernel", id)
	}
	return s.kernel.Retain(), nil
}

// CulledError says that a seed was culled instead of what was waited for.
type CulledError struct {
	Seed Seed
}

// Error names the seed and the reason.
func (e *CulledError) Error() string {
	return fmt.Sprintf("kasmina: seed %q was culled: %s", e.Seed.ID, e.Seed.Reason)
}

// AwaitTraining blocks while a seed is germinated and has not come further, and
// returns how it then stands: in training or beyond, or with a [*CulledError]. It
// also ends with ctx, and with [ErrUnknownSeed] when the seed is gone; one that is
// retired meanwhile is culled first and then gone, and either may be returned.
func (m *Manager) AwaitTraining(ctx context.Context, id string) (Seed, error) {
	for {
		m.mu.Lock()
		s, err := m.findLocked(id)
		if err != nil {
			m.mu.Unlock()
			return Seed{}, err
		}
		view, changed := s.view(), s.wait()
		m.mu.Unlock()
		switch view.Stage {
		case germinated:
		case training, blending, shadowing, probationary, fossilized:
			return view, nil
		default:
			return view, &CulledError{view}
		}
		select {
		case <-ctx.Done():
			return view, fmt.Errorf("kasmina: seed %q: %w", id, context.Cause(ctx))
		case <-changed:
		}
	}
}
