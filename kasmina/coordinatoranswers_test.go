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
	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
)

func TestErrorAnswer(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.serve(func(_ int, r *pb.KernelPrefetchRequest) proto.Message {
			return &pb.KernelArtifactError{RequestId: r.RequestId, BlueprintId: r.BlueprintId, Reason: "missing_artifact"}
		})
		c, _ := f.newCoordinator(kasmina.CoordinatorConfig{})
		m := newManager(t, kasmina.ManagerConfig{Kernels: c})
		_, err := c.Await(t.Context(), kasmina.Want{BlueprintID: "BP404"})
		if e := wantError[*kasmina.AnswerError](t, err); *e != (kasmina.AnswerError{BlueprintID: "BP404", Reason: "missing_artifact"}) {
			t.Errorf("%+v", e)
		}
		germinate(t, m, "s")
		_, err = m.AwaitTraining(t.Context(), "s")
		if e := wantError[*kasmina.CulledError](t, err); !strings.HasSuffix(e.Seed.Reason, "missing_artifact") {
			t.Errorf("reason is %q", e.Seed.Reason)
		}
		wantFigures(t, c, map[string]float64{"kasmina.prefetch.errors_total": 2, "kasmina.prefetch.pending": 0})
	})
}

// An answer that is lost is asked for again, under another id, and an answer to
// the first request that comes after all counts.
func TestLostAnswer(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		d := f.serve(func(n int, r *pb.KernelPrefetchRequest) proto.Message {
			if n < 3 {
				return nil
			}
			return readyFor(r)
		})
		c, _ := f.newCoordinator(kasmina.CoordinatorConfig{})
		start := time.Now()
		await(t, c, "BP001").Release()
		if took := time.Since(start).Round(time.Second); took != 45*time.Second { // 15s and 30s
			t.Errorf("took %v", took)
		}
		var ids []string
		for _, r := range d.requests() {
			ids = append(ids, r.RequestId)
		}
		if slices.Sort(ids); len(slices.Compact(ids)) != 3 {
			t.Errorf("request ids are %v", ids)
		}
		// The late answer to the first request is nobody's any more.
		d.publish(t, readyFor(d.requests()[0]))
		synctest.Wait()
		wantFigures(t, c, map[string]float64{
			"kasmina.prefetch.lost_total": 2, "kasmina.prefetch.duplicates_total": 1, "kasmina.prefetch.strangers_total": 0,
		})
	})
}

func TestLateAnswerCounts(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		d := f.serve(func(int, *pb.KernelPrefetchRequest) proto.Message { return nil })
		c, _ := f.newCoordinator(kasmina.CoordinatorConfig{})
		got := make(chan error)
		go func() {
			k, err := c.Await(t.Context(), kasmina.Want{BlueprintID: "BP001"})
			if err == nil {
				k.Release()
			}
			got <- err
		}()
		time.Sleep(20 * time.Second) // the second request is out
		d.publish(t, readyFor(d.requests()[0]))
		check(t, <-got)
		if len(d.requests()) != 2 {
			t.Errorf("%d requests", len(d.requests()))
		}
	})
}

func TestNoAnswer(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		d := f.serve(func(int, *pb.KernelPrefetchRequest) proto.Message { return nil })
		c, _ := f.newCoordinator(kasmina.CoordinatorConfig{})
		_, err := c.Await(t.Context(), kasmina.Want{BlueprintID: "BP001"})
		if !errors.Is(err, kasmina.ErrNoAnswer) || len(d.requests()) != 4 {
			t.Errorf("%v after %d requests", err, len(d.requests()))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Await(ctx, kasmina.Want{BlueprintID: "BP001"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		wantFigures(t, c, map[string]float64{"kasmina.prefetch.pending": 0, "kasmina.prefetch.waiting": 0})
	})
}

// A catalogue that is away for a while is not the last word.
func TestTransientError(t *testing.T) {
	for name, test := range map[string]struct {
		failures int
		took     time.Duration
	}{
		"passes": {2, 3 * time.Second},   // 1s and 2s
		"stays":  {99, 15 * time.Second}, // and 4s and 8s
	} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				f.serve(func(n int, r *pb.KernelPrefetchRequest) proto.Message {
					if n <= test.failures {
						return &pb.KernelArtifactError{RequestId: r.RequestId, BlueprintId: r.BlueprintId, Reason: "catalog_unavailable"}
					}
					return readyFor(r)
				})
				c, _ := f.newCoordinator(kasmina.CoordinatorConfig{})
				start := time.Now()
				k, err := c.Await(t.Context(), kasmina.Want{BlueprintID: "BP001"})
				if took := time.Since(start).Round(time.Second); took != test.took {
					t.Errorf("took %v, want %v", took, test.took)
				}
				if name == "passes" {
					check(t, err)
					k.Release()
				} else if e := wantError[*kasmina.AnswerError](t, err); e.Reason != "catalog_unavailable" {
					t.Error(err)
				}
			})
		})
	}
}

// What is not an answer to a request of ours changes nothing.
func TestForeignAnswers(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		d := f.serve(func(int, *pb.KernelPrefetchRequest) proto.Message { return nil })
		c, made := f.newCoordinator(kasmina.CoordinatorConfig{})
		_, err := c.Request(kasmina.Want{BlueprintID: "BP001"}, func(_ context.Context, k *kasmina.Kernel, err error) {
			check(t, err)
			k.Release()
		})
		check(t, err)
		synctest.Wait()
		r := d.requests()[0]
		wrong := readyFor(r)
		wrong.BlueprintId = "BP002"
		d.publish(t,
			&pb.KernelArtifactReady{RequestId: "somebody-else", BlueprintId: "BP001", Checksum: checksum},
			&pb.KernelArtifactError{RequestId: "somebody-else", BlueprintId: "BP001", Reason: "missing_artifact"},
			wrong)
		synctest.Wait()
		wantFigures(t, c, map[string]float64{
			"kasmina.prefetch.strangers_total": 2, "kasmina.prefetch.mismatched_total": 1, "kasmina.prefetch.pending": 1,
		})
		d.publish(t, readyFor(r), readyFor(r), &pb.KernelArtifactError{RequestId: r.RequestId, BlueprintId: "BP001", Reason: "late"})
		synctest.Wait()
		wantFigures(t, c, map[string]float64{
			"kasmina.prefetch.answers_total": 1, "kasmina.prefetch.duplicates_total": 2, "kasmina.prefetch.pending": 0,
		})
		if made.loads.Load() != 1 {
			t.Errorf("%d loads", made.loads.Load())
		}
	})
}

// A producer in its conservative mode answers on the emergency stream.
func TestDivertedAnswer(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		var d *desk
		d = f.serve(func(_ int, r *pb.KernelPrefetchRequest) proto.Message {
			_, err := d.client.Send(t.Context(), oona.Outgoing{Message: readyFor(r), Stream: d.client.Streams().Emergency})
			check(t, err)
			return nil
		})
		c, _ := f.newCoordinator(kasmina.CoordinatorConfig{})
		await(t, c, "BP001").Release()
	})
}

// Every replica sees every answer, so each gets its own.
func TestReplicas(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.serve(alwaysReady)
		a, _ := f.newCoordinator(kasmina.CoordinatorConfig{Bus: f.client("a")})
		b, _ := f.newCoordinator(kasmina.CoordinatorConfig{Bus: f.client("b")})
		var wg sync.WaitGroup
		for i := range 100 {
			for _, c := range []*kasmina.Coordinator{a, b} {
				wg.Go(func() { await(t, c, fmt.Sprint("BP", i)).Release() })
			}
		}
		wg.Wait()
		synctest.Wait()
		for _, c := range []*kasmina.Coordinator{a, b} {
			wantFigures(t, c, map[string]float64{"kasmina.prefetch.answers_total": 100, "kasmina.prefetch.strangers_total": 100})
		}
	})
}

// An announced change makes the next request ask; the kernel is loaded again only
// if its file changed.
func TestCatalogUpdate(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		content := "BP001"
		d := f.serve(func(_ int, r *pb.KernelPrefetchRequest) proto.Message {
			a := readyFor(r)
			a.Checksum = sum(content)
			return a
		})
		c, made := f.newCoordinator(kasmina.CoordinatorConfig{})
		for i, step := range []struct {
			content         string
			requests, loads int
		}{{"BP001", 1, 1}, {"BP001", 2, 1}, {"changed", 3, 2}} {
			content = step.content
			k := await(t, c, "BP001")
			if k.Artifact().Checksum != sum(content) {
				t.Errorf("step %d: old kernel", i)
			}
			k.Release()
			if len(d.requests()) != step.requests || made.loads.Load() != int64(step.loads) {
				t.Errorf("step %d: %d requests, %d loads; want %d, %d", i, len(d.requests()), made.loads.Load(), step.requests, step.loads)
			}
			// Its fields mean nothing: it may be an old one.
			d.publish(t, &pb.KernelCatalogUpdate{BlueprintId: "BP001", ArtifactRef: "/evil", Checksum: checksum})
			synctest.Wait()
		}
	})
}

// The announcement comes between request and answer: the answer may be older.
func TestCatalogUpdateWhilePending(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		var d *desk
		d = f.serve(func(_ int, r *pb.KernelPrefetchRequest) proto.Message {
			d.publish(t, &pb.KernelCatalogUpdate{BlueprintId: r.BlueprintId})
			return readyFor(r)
		})
		c, _ := f.newCoordinator(kasmina.CoordinatorConfig{})
		await(t, c, "BP001").Release()
		await(t, c, "BP001").Release()
		if len(d.requests()) != 2 {
			t.Errorf("%d requests, want 2: the first answer must not be kept", len(d.requests()))
		}
		// The file was replaced under the first answer: asked again at once.
		f2 := &forge{err: kasmina.ErrChecksum}
		broken, _ := f.newCoordinator(kasmina.CoordinatorConfig{Bus: f.client("other"), Cache: newCache(t, kasmina.CacheConfig{Runtime: f2})})
		if _, err := broken.Await(t.Context(), kasmina.Want{BlueprintID: "BP002"}); !errors.Is(err, kasmina.ErrChecksum) {
			t.Error(err)
		}
		if f2.loads.Load() != 4 {
			t.Errorf("%d loads, want 4", f2.loads.Load())
		}
	})
}
