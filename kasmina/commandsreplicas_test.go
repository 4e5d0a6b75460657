package kasmina_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/esper-lite/esper/kasmina"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

// Of several replicas one germinates, and all that follows is for it alone.
func TestCommandsOfReplicas(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		replicas := []*replica{f.join("a", nil), f.join("b", nil), f.join("c", nil)}
		s := f.sender()
		const seeds = 30
		for i := range seeds {
			s.send(newOrder(fmt.Sprint("germinate-", i), fmt.Sprint("seed-", i), opGerminate))
		}
		synctest.Wait()
		for i := range seeds {
			s.send(newOrder(fmt.Sprint("cull-", i), fmt.Sprint("seed-", i), opCull))
		}
		time.Sleep(5 * time.Second)
		var all []string
		for _, r := range replicas {
			all = append(all, r.outcomes()...)
			for _, seed := range r.manager.Seeds() {
				if seed.Stage != embargoed {
					t.Errorf("%s: seed is %+v", r.name, seed)
				}
			}
		}
		slices.Sort(all)
		var want []string
		for i := range seeds {
			want = append(want, fmt.Sprintf("cull-%d: executed", i), fmt.Sprintf("germinate-%d: executed", i))
		}
		slices.Sort(want)
		if diff := cmp.Diff(want, all); diff != "" {
			t.Error(diff)
		}
	})
}

// Commands that were sent while no replica was up are carried out by the first
// one, as long as they are fresh; what was carried out before is not done again,
// nor said to be stale.
func TestCommandsFromBefore(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		a, s := f.join("a", nil), f.sender()
		s.send(newOrder("1", "s", opGerminate))
		synctest.Wait()
		wantOutcomes(t, a, "1: executed")
		a.stop()
		time.Sleep(55 * time.Second)
		second := newOrder("2", "t", opGerminate)
		second.IssuedAt = timestamppb.New(time.Now().Add(-10 * time.Second))
		s.send(second, newOrder("3", "t", opCull), newOrder("4", "s", opCull))
		b := f.join("b", nil)
		time.Sleep(3 * time.Second)
		wantOutcomes(t, b, "2: executed", "3: executed", "4: unknown_seed")
		b.stop()
		time.Sleep(49 * time.Second)
		c := f.join("c", nil) // 2 arrived within the window, but is stale by now
		time.Sleep(3 * time.Second)
		wantOutcomes(t, c)
		if len(c.manager.Seeds()) != 0 {
			t.Errorf("seeds: %+v", c.manager.Seeds())
		}
		wantFigures(t, c.commands, map[string]float64{"kasmina.commands.gaps_total": 0, "kasmina.commands.rejected_total": 0})
	})
}

// A command for a seed that nobody has is rejected, once, by whoever is first.
func TestUnknownSeed(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		replicas := []*replica{f.join("a", nil), f.join("b", nil)}
		s := f.sender()
		s.send(newOrder("1", "nobody", opCull), newOrder("2", "", opGerminate), newPause("3", "nobody", false),
			newOrder("4", "nobody", pb.SeedOperation_SEED_OP_EVALUATE))
		synctest.Wait()
		time.Sleep(kasmina.DefaultTakeoverAfter - time.Millisecond)
		for _, r := range replicas {
			if got := r.outcomes(); slices.Contains(got, "1: unknown_seed") {
				t.Errorf("%s did not leave the owner any time: %v", r.name, got)
			}
		}
		time.Sleep(5 * time.Second)
		all := append(replicas[0].outcomes(), replicas[1].outcomes()...)
		slices.Sort(all)
		want := []string{"1: unknown_seed", "2: kasmina: germination without a seed id", "3: unknown_seed", "4: unknown_seed"}
		if diff := cmp.Diff(want, all); diff != "" {
			t.Error(diff)
		}
	})
}

// The owner of a seed dies: the next germination of it finds another owner, and a
// deadline that has passed meanwhile counts.
func TestOwnerDies(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		a := f.join("a", nil)
		s := f.sender()
		b := f.join("b", nil)
		s.send(newOrder("1", "s", opGerminate))
		synctest.Wait()
		owner, heir := a, b
		if b.manager.Has("s") {
			owner, heir = b, a
		}
		owner.stop()
		tight := newOrder("2", "s", opGerminate)
		tight.ExecutionDeadlineMs = 500
		s.send(tight, newOrder("3", "s", opGerminate))
		time.Sleep(5 * time.Second)
		wantOutcomes(t, heir, "2: expired", "3: executed")
		s.send(newOrder("4", "s", opCull))
		synctest.Wait()
		wantOutcomes(t, heir, "2: expired", "3: executed", "4: executed")
	})
}

// A replica that was away for too long loses its seed to another one, and gives
// its own up.
func TestDisowned(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		var store claims
		a := f.join("a", func(cfg *kasmina.CommandsConfig) {
			store.ReplayStore = cfg.Claims
			cfg.Claims = &store
		})
		s := f.sender()
		s.send(newOrder("1", "s", opGerminate))
		synctest.Wait()
		a.library.answer(t.Context(), nil)
		b := f.join("b", nil) // knows nothing of the seed
		store.away.Store(true)
		s.send(newOrder("2", "s", opGerminate))
		time.Sleep(2 * time.Second)
		wantOutcomes(t, b, "2: executed")
		store.away.Store(false)
		time.Sleep(2 * time.Second)
		if a.manager.Has("s") || !b.manager.Has("s") {
			t.Errorf("a has the seed: %v, b: %v", a.manager.Has("s"), b.manager.Has("s"))
		}
		if a.library.open.Load() != 0 {
			t.Error("the kernel of the seed that was given up is open")
		}
		wantFigures(t, a.commands, map[string]float64{"kasmina.commands.disowned_total": 1})
	})
}
