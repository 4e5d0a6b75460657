package kasmina_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/esper-lite/esper/kasmina"
	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

// Stages and gates by the names that tests read well with.
const (
	dormant      = pb.SeedLifecycleStage_SEED_STAGE_DORMANT
	germinated   = pb.SeedLifecycleStage_SEED_STAGE_GERMINATED
	training     = pb.SeedLifecycleStage_SEED_STAGE_TRAINING
	blending     = pb.SeedLifecycleStage_SEED_STAGE_BLENDING
	shadowing    = pb.SeedLifecycleStage_SEED_STAGE_SHADOWING
	probationary = pb.SeedLifecycleStage_SEED_STAGE_PROBATIONARY
	fossilized   = pb.SeedLifecycleStage_SEED_STAGE_FOSSILIZED
	culled       = pb.SeedLifecycleStage_SEED_STAGE_CULLED
	embargoed    = pb.SeedLifecycleStage_SEED_STAGE_EMBARGOED
	resetting    = pb.SeedLifecycleStage_SEED_STAGE_RESETTING
	terminated   = pb.SeedLifecycleStage_SEED_STAGE_TERMINATED
)

func stageName(s pb.SeedLifecycleStage) string { return strings.TrimPrefix(s.String(), "SEED_STAGE_") }

const checksum = "abababababababababababababababababababababababababababababababab"

// program counts how many of its kind are open.
type program struct {
	open *atomic.Int64
	size int64
}

func (p *program) Size() int64  { return p.size }
func (p *program) Close() error { p.open.Add(-1); return nil }

// library is a kasmina.Source whose answers come when the test says so.
type library struct {
	mu      sync.Mutex
	pending []*order     // not answered and not withdrawn, oldest first
	open    atomic.Int64 // programs
	refuse  error
}

type order struct {
	want kasmina.Want
	done func(context.Context, *kasmina.Kernel, error)
}

func (l *library) Request(want kasmina.Want, done func(context.Context, *kasmina.Kernel, error)) (func() bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refuse != nil {
		return nil, l.refuse
	}
	o := &order{want, done}
	l.pending = append(l.pending, o)
	return func() bool { return l.take(o) }, nil
}

func (l *library) take(o *order) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.pending {
		if l.pending[i] == o {
			l.pending = append(l.pending[:i], l.pending[i+1:]...)
			return true
		}
	}
	return false
}

// kernel returns a kernel of which the library knows when it is closed.
func (l *library) kernel(blueprintID string) *kasmina.Kernel {
	l.open.Add(1)
	return kasmina.NewKernel(kasmina.Artifact{BlueprintID: blueprintID, Ref: "/" + blueprintID, Checksum: checksum}, &program{open: &l.open, size: 1})
}

// answer answers the oldest request, if there is one.
func (l *library) answer(ctx context.Context, err error) {
	l.mu.Lock()
	if len(l.pending) == 0 {
		l.mu.Unlock()
		return // taken by somebody else
	}
	o := l.pending[0]
	l.pending = l.pending[1:]
	l.mu.Unlock()
	if err != nil {
		o.done(ctx, nil, err)
		return
	}
	o.done(ctx, l.kernel(o.want.BlueprintID), nil)
}

// journal keeps what was reported.
type journal struct {
	mu      sync.Mutex
	packets []*pb.TelemetryPacket
	highest pb.MessagePriority
}

func (j *journal) report(p *pb.TelemetryPacket, priority pb.MessagePriority) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.packets = append(j.packets, p)
	j.highest = max(j.highest, priority)
}

// lines returns the events as "description from>to: reason", in their order.
func (j *journal) lines() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var lines []string
	for _, p := range j.packets {
		for _, e := range p.Events {
			line := e.Description
			if to := e.Attributes["to"]; to != "" {
				line += " " + strings.ReplaceAll(e.Attributes["from"]+">"+to, "SEED_STAGE_", "")
			}
			if g := e.Attributes["gate"]; g != "" {
				line += " " + strings.TrimPrefix(g, "SEED_GATE_")
			}
			if r := e.Attributes["reason"]; r != "" {
				line += ": " + r
			}
			lines = append(lines, line)
		}
	}
	return lines
}

func newManager(t *testing.T, cfg kasmina.ManagerConfig) *kasmina.Manager {
	t.Helper()
	m, err := kasmina.NewManager(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func wantStage(t *testing.T, m *kasmina.Manager, id string, want pb.SeedLifecycleStage) {
	t.Helper()
	if s, ok := m.Seed(id); !ok || s.Stage != want {
		t.Errorf("seed %q is in %v (known: %v), want %v", id, s.Stage, ok, want)
	}
}

func wantError[E error](t *testing.T, err error) E {
	t.Helper()
	e, ok := errors.AsType[E](err)
	if !ok {
		t.Errorf("error is %v (%T), want a %T", err, err, e)
	}
	return e
}

func figure(t *testing.T, metrics []leyline.Metric, name string) float64 {
	t.Helper()
	for _, m := range metrics {
		if m.Name == name {
			return m.Value
		}
	}
	t.Errorf("no figure %q", name)
	return 0
}
