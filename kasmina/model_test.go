package kasmina_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/esper-lite/esper/kasmina"
)

// The model is what a seed is, said as simply as possible: a stage by name, and
// what hangs on it.
type modelSeed struct {
	stage    string
	waiting  bool // a request is pending
	kernel   bool
	paused   bool
	retiring bool
	embargo  time.Time
	dormant  int // when it became dormant, in steps
}

const (
	modelSeeds    = 6 // of 9 names
	modelEmbargo  = 5 * time.Second
	modelShortRun = 50_000
)

// Random commands do to a Manager what they do to the model. The length is
// KASMINA_MODEL_STEPS (1000000 for the long version), the seed KASMINA_MODEL_SEED,
// which a failure prints.
func TestModel(t *testing.T) {
	steps, first := modelShortRun, uint64(1)
	if s := os.Getenv("KASMINA_MODEL_STEPS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		steps = n
	}
	if s := os.Getenv("KASMINA_MODEL_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		first = n
	}
	// Several shorter lives reach more corners than one long one, and a
	// failure is quicker to repeat.
	const life = 10_000
	for n := range uint64((steps + life - 1) / life) {
		synctest.Test(t, func(t *testing.T) { newModel(t, first+n).run(life) })
		if t.Failed() {
			t.Fatalf("repeat with KASMINA_MODEL_SEED=%d KASMINA_MODEL_STEPS=%d", first+n, life)
		}
	}
}

type model struct {
	t       *testing.T
	rng     *rand.Rand
	seeds   map[string]*modelSeed
	manager *kasmina.Manager
	library library
	verdict map[string]error // by gate, for the present step
	step    int
	log     []string // the last commands
}

var errBad = errors.New("bad")

func newModel(t *testing.T, seed uint64) *model {
	x := &model{t: t, rng: rand.New(rand.NewPCG(seed, 2)), seeds: make(map[string]*modelSeed), verdict: make(map[string]error)}
	gate := func(name string) kasmina.Gate {
		return kasmina.GateFunc(func(_ context.Context, s kasmina.Seed, k *kasmina.Kernel) error {
			if s.Attached != (k != nil) {
				t.Errorf("%s sees attached %v and kernel %v", name, s.Attached, k)
			}
			return x.verdict[name]
		})
	}
	x.manager = newManager(t, kasmina.ManagerConfig{
		Kernels: &x.library, MaxSeeds: modelSeeds, Embargo: modelEmbargo,
		Gates: kasmina.Gates{
			Sanity: gate("G0"), GradientHealth: gate("G1"), Stability: gate("G2"),
			Interface: gate("G3"), SystemImpact: gate("G4"), Reset: gate("G5"),
		},
	})
	return x
}

func (x *model) run(steps int) {
	for x.step = range steps {
		for _, g := range []string{"G0", "G1", "G2", "G3", "G4", "G5"} {
			x.verdict[g] = nil
			switch x.rng.IntN(12) {
			case 0:
				x.verdict[g] = kasmina.ErrHeld
			case 1:
				x.verdict[g] = errBad
			}
		}
		id := string(rune('a' + x.rng.IntN(modelSeeds+3)))
		name, want, got := x.command(id)
		x.log = append(x.log, fmt.Sprintf("%s %s: %s", name, id, want))
		x.log = x.log[max(0, len(x.log)-20):]
		if class(got) != want {
			x.t.Fatalf("step %d: %s %s: manager says %q (%v), model says %q\nlast commands: %q", x.step, name, id, class(got), got, want, x.log)
		}
		x.compare()
	}
}

// command does one random thing to both.
func (x *model) command(id string) (name, want string, got error) {
	m, ctx := x.manager, x.t.Context()
	switch x.rng.IntN(16) {
	case 0, 1, 2:
		want = x.germinate(id)
		_, got = m.Germinate(ctx, kasmina.Germination{SeedID: id, BlueprintID: "BP"})
		return "germinate", want, got
	case 3, 4:
		return "kernel", x.kernel(), nil
	case 5, 6, 7, 8, 9:
		want = x.advance(id)
		_, got = m.Advance(ctx, id)
		return "advance", want, got
	case 10:
		want = x.cull(id, modelEmbargo)
		_, got = m.Cull(id, "model")
		return "cull", want, got
	case 11:
		want = x.cancel(id)
		_, got = m.Cancel(ctx, id)
		return "cancel", want, got
	case 12:
		want = x.retire(id)
		return "retire", want, m.Retire(ctx, id)
	case 13:
		want = x.fossilize(id)
		_, got = m.Fossilize(id)
		return "fossilize", want, got
	case 14:
		if x.rng.IntN(2) == 0 {
			want = x.pause(id, true)
			_, got = m.Pause(id)
			return "pause", want, got
		}
		if want = x.pause(id, false); want == "ok" && x.seeds[id].stage == "GERMINATED" && x.seeds[id].kernel {
			want = x.advance(id)
		}
		_, got = m.Resume(ctx, id)
		return "resume", want, got
	}
	time.Sleep(time.Duration(x.rng.IntN(4000)) * time.Millisecond)
	return "wait", "ok", nil
}

// class reduces an error to what the model knows of errors.
func class(err error) string {
	stage, isStage := errors.AsType[*kasmina.StageError](err)
	gate, isGate := errors.AsType[*kasmina.GateError](err)
	switch {
	case err == nil:
		return "ok"
	case isStage:
		return "not from " + stageName(stage.From)
	case isGate && errors.Is(gate, kasmina.ErrHeld):
		return "held"
	case isGate:
		return "failed"
	}
	for _, known := range []error{kasmina.ErrUnknownSeed, kasmina.ErrPaused, kasmina.ErrEmbargoed, kasmina.ErrFull} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return "?" + err.Error()
}

// compare checks that every seed is as the model says, and that nothing is held
// for anybody else.
func (x *model) compare() {
	all := x.manager.Seeds()
	if len(all) != len(x.seeds) {
		x.t.Fatalf("step %d: %d seeds, model has %d\nlast commands: %q", x.step, len(all), len(x.seeds), x.log)
	}
	waiting, kernels := 0, 0
	for _, got := range all {
		s := x.seeds[got.ID]
		if s == nil || stageName(got.Stage) != s.stage || got.Attached != s.kernel || got.Paused != s.paused {
			x.t.Fatalf("step %d: seed is %+v, model says %+v\nlast commands: %q", x.step, got, s, x.log)
		}
		if s.waiting {
			waiting++
		}
		if s.kernel {
			kernels++
		}
	}
	if len(x.library.pending) != waiting || x.library.open.Load() != int64(kernels) {
		x.t.Fatalf("step %d: %d requests and %d kernels, model has %d and %d\nlast commands: %q",
			x.step, len(x.library.pending), x.library.open.Load(), waiting, kernels, x.log)
	}
}
