package kasmina_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/esper-lite/esper/kasmina"
	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

func await(t *testing.T, c *kasmina.Coordinator, blueprint string) *kasmina.Kernel {
	t.Helper()
	k, err := c.Await(t.Context(), kasmina.Want{BlueprintID: blueprint, TrainingRunID: "run-1"})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func wantFigures(t *testing.T, c interface {
	AppendMetrics([]leyline.Metric) []leyline.Metric
}, want map[string]float64) {
	t.Helper()
	metrics := c.AppendMetrics(nil)
	for name, v := range want {
		if got := figure(t, metrics, name); got != v {
			t.Errorf("%s = %v, want %v", name, got, v)
		}
	}
}

func TestAwait(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		d := f.serve(alwaysReady)
		c, made := f.newCoordinator(kasmina.CoordinatorConfig{})
		k := await(t, c, "BP001")
		want := kasmina.Artifact{
			BlueprintID: "BP001", Ref: "/BP001", Checksum: sum("BP001"), GuardDigest: "guard",
			PrewarmP50: 12500 * time.Microsecond, PrewarmP95: 18250 * time.Microsecond,
		}
		if k.Artifact() != want {
			t.Errorf("artifact is %+v, want %+v", k.Artifact(), want)
		}
		r := d.requests()[0]
		if r.TrainingRunId != "run-1" || !strings.HasPrefix(r.RequestId, "prefetch-") || r.IssuedAt.AsTime().After(time.Now()) {
			t.Errorf("request is %v", r)
		}
		k.Release()
		await(t, c, "BP001").Release() // from the cache
		if len(d.requests()) != 1 || made.loads.Load() != 1 {
			t.Errorf("%d requests, %d loads; want one of each", len(d.requests()), made.loads.Load())
		}
	})
}

func TestOneRequestForMany(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		d := f.serve(alwaysReady)
		c, made := f.newCoordinator(kasmina.CoordinatorConfig{})
		m := newManager(t, kasmina.ManagerConfig{Kernels: c})
		for i := range 1000 {
			_, err := m.Germinate(t.Context(), kasmina.Germination{SeedID: fmt.Sprint("seed-", i), BlueprintID: fmt.Sprint("BP", i%50)})
			check(t, err)
		}
		for i := range 1000 {
			if _, err := m.AwaitTraining(t.Context(), fmt.Sprint("seed-", i)); err != nil {
				t.Fatal(err)
			}
		}
		if len(d.requests()) != 50 || made.loads.Load() != 50 {
			t.Errorf("%d requests, %d loads; want 50 of each", len(d.requests()), made.loads.Load())
		}
		synctest.Wait()
		wantFigures(t, c, map[string]float64{
			"kasmina.prefetch.requests_total": 50, "kasmina.prefetch.answers_total": 50,
			"kasmina.prefetch.pending": 0, "kasmina.prefetch.waiting": 0, "kasmina.cache.kernels_in_use": 50,
		})
		metrics := c.AppendMetrics(nil)
		if n := figure(t, metrics, "kasmina.prefetch.joined_total") + figure(t, metrics, "kasmina.cache.kernel_hits"); n != 950 {
			t.Errorf("%v seeds joined a request or found the kernel in the cache, want 950", n)
		}
		for i := range 1000 {
			check(t, m.Retire(t.Context(), fmt.Sprint("seed-", i)))
		}
		c.Cache().Purge()
		if made.open.Load() != 0 {
			t.Errorf("%d kernels are open", made.open.Load())
		}
	})
}

func TestCancelLeavesNothing(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		d := f.serve(func(int, *pb.KernelPrefetchRequest) proto.Message { return nil })
		c, made := f.newCoordinator(kasmina.CoordinatorConfig{})
		m := newManager(t, kasmina.ManagerConfig{Kernels: c})
		for _, id := range []string{"a", "b", "c"} {
			germinate(t, m, id)
		}
		synctest.Wait()
		_, err := m.Cancel(t.Context(), "a")
		check(t, err)
		check(t, m.Retire(t.Context(), "b"))
		wantFigures(t, c, map[string]float64{"kasmina.prefetch.pending": 1, "kasmina.prefetch.waiting": 1})
		_, err = m.Cull("c", "no")
		check(t, err)
		wantFigures(t, c, map[string]float64{"kasmina.prefetch.pending": 0, "kasmina.prefetch.waiting": 0})
		d.publish(t, readyFor(d.requests()[0]))
		time.Sleep(time.Hour)
		if made.loads.Load() != 0 || len(d.requests()) != 1 {
			t.Errorf("%d loads, %d requests after everybody left", made.loads.Load(), len(d.requests()))
		}
		wantFigures(t, c, map[string]float64{"kasmina.prefetch.duplicates_total": 1})
	})
}

func TestBounds(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.serve(func(int, *pb.KernelPrefetchRequest) proto.Message { return nil })
		c, _ := f.newCoordinator(kasmina.CoordinatorConfig{MaxPending: 2, MaxWaiting: 3})
		nobody := func(context.Context, *kasmina.Kernel, error) {}
		var cancels []func() bool
		for _, id := range []string{"a", "b", "b"} {
			cancel, err := c.Request(kasmina.Want{BlueprintID: id}, nobody)
			check(t, err)
			cancels = append(cancels, cancel)
		}
		if _, err := c.Request(kasmina.Want{BlueprintID: "b"}, nobody); !errors.Is(err, kasmina.ErrFull) {
			t.Errorf("a fourth who waits: %v", err)
		}
		if !cancels[2]() || cancels[2]() {
			t.Error("cancel withdraws once")
		}
		if _, err := c.Request(kasmina.Want{BlueprintID: "c"}, nobody); !errors.Is(err, kasmina.ErrFull) {
			t.Errorf("a third blueprint: %v", err)
		}
		cancels[0]()
		_, err := c.Request(kasmina.Want{BlueprintID: "c"}, nobody)
		check(t, err)
		for _, want := range []kasmina.Want{{}, {BlueprintID: "\xff"}, {BlueprintID: "a", TrainingRunID: strings.Repeat("x", 1025)}} {
			if _, err := c.Request(want, nobody); err == nil {
				t.Errorf("%.20q was accepted", want)
			}
		}
	})
}

// While the bus is away nothing is given up; a request whose reply was lost is not
// answered twice.
func TestBusAway(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		d := f.serve(alwaysReady)
		bus := &flaky{Client: f.client("trainer")}
		c, _ := f.newCoordinator(kasmina.CoordinatorConfig{Bus: bus})
		bus.away.Store(true)
		time.AfterFunc(10*time.Minute, func() { bus.away.Store(false) })
		start := time.Now()
		await(t, c, "BP001").Release()
		if took := time.Since(start).Round(time.Minute); took != 10*time.Minute || bus.attempts.Load() > 1000 {
			t.Errorf("took %v, %d attempts", took, bus.attempts.Load())
		}
		bus.swallow.Store(true)
		await(t, c, "BP002").Release()
		time.Sleep(time.Minute)
		if len(d.requests()) != 2 {
			t.Errorf("%d requests were answered, want 2", len(d.requests()))
		}
	})
}

// What is pending when Run ends is pending for the next Run, which also gets the
// answers that came in between.
func TestRunAgain(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		d := f.serve(func(_ int, r *pb.KernelPrefetchRequest) proto.Message {
			if r.BlueprintId == "BP001" {
				return nil
			}
			return readyFor(r)
		})
		bus := &flaky{Client: f.client("trainer")}
		bus.away.Store(true)
		c, err := kasmina.NewCoordinator(kasmina.CoordinatorConfig{Bus: bus, Cache: newCache(t, kasmina.CacheConfig{Runtime: &forge{}})})
		check(t, err)
		got := make(chan error, 1)
		_, err = c.Request(kasmina.Want{BlueprintID: "BP001"}, func(_ context.Context, k *kasmina.Kernel, err error) {
			if k != nil {
				k.Release()
			}
			got <- err
		})
		check(t, err)
		time.AfterFunc(time.Minute, func() { bus.away.Store(false) })
		stop := f.run(c) // ready only when the bus is there
		synctest.Wait()
		if err := c.Run(t.Context()); err == nil {
			t.Error("a second Run at the same time")
		}
		await(t, c, "BP002").Release()
		stop()
		d.publish(t, readyFor(d.requests()[0]))
		time.Sleep(time.Minute)
		select {
		case <-got:
			t.Fatal("answered without Run")
		default:
		}
		f.run(c)
		check(t, <-got)
		synctest.Wait()
		wantFigures(t, c, map[string]float64{"kasmina.prefetch.answers_total": 2, "kasmina.prefetch.duplicates_total": 0})
	})
}

// The memory of settled requests is bounded; what it forgot counts as somebody
// else's.
func TestSettledRequestsAreForgotten(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		d := f.serve(alwaysReady)
		c, _ := f.newCoordinator(kasmina.CoordinatorConfig{})
		const remembered, atOnce = 1024, 300
		await(t, c, "first").Release()
		await(t, c, "second").Release()
		for done := 1; done < remembered; {
			var wg sync.WaitGroup
			for range min(atOnce, remembered-done) {
				blueprint := fmt.Sprint("BP", done)
				wg.Go(func() { await(t, c, blueprint).Release() })
				done++
			}
			wg.Wait()
		}
		d.publish(t, readyFor(d.requests()[0]), readyFor(d.requests()[1]))
		synctest.Wait()
		wantFigures(t, c, map[string]float64{"kasmina.prefetch.strangers_total": 1, "kasmina.prefetch.duplicates_total": 1})
	})
}

func TestFallbackKernel(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.serve(alwaysReady)
		cache := newCache(t, kasmina.CacheConfig{Runtime: &forge{err: errors.New("disk is broken")}, Fallback: &kasmina.File{}})
		c, _ := f.newCoordinator(kasmina.CoordinatorConfig{Cache: cache})
		var j journal
		m := newManager(t, kasmina.ManagerConfig{Kernels: c, Report: j.report})
		germinate(t, m, "s")
		s, err := m.AwaitTraining(t.Context(), "s")
		check(t, err)
		if !s.Fallback {
			t.Errorf("seed is %+v", s)
		}
		if _, err := m.Advance(t.Context(), "s"); !errors.Is(err, kasmina.ErrHeld) {
			t.Errorf("a seed with the fallback kernel advances: %v", err)
		}
		if !slices.Contains(j.lines(), "fallback_applied: disk is broken") {
			t.Errorf("events: %v", j.lines())
		}
	})
}

func TestCoordinatorConfig(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		bus := f.client("trainer")
		for _, cfg := range []kasmina.CoordinatorConfig{
			{}, {Bus: bus, AnswerTimeout: -1}, {Bus: bus, MaxRequests: -1}, {Bus: bus, MaxPending: -1}, {Bus: bus, MaxWaiting: -1},
		} {
			if _, err := kasmina.NewCoordinator(cfg); err == nil {
				t.Errorf("%+v was accepted", cfg)
			}
		}
		if _, err := kasmina.NewCoordinator(kasmina.CoordinatorConfig{Bus: bus}); err != nil {
			t.Error(err)
		}
	})
}
