package urza_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/esper-lite/esper/leyline"
	"github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
	"github.com/esper-lite/esper/oona/oonatest"
	"github.com/esper-lite/esper/urza"
)

// connectBus returns a client of a bus of its own. It works in a bubble.
func connectBus(t *testing.T) *oona.Client {
	t.Helper()
	bus := oonatest.New()
	t.Cleanup(bus.Close)
	keys, err := leyline.NewKeyring(leyline.NewSecret("golden-secret-golden-secret"))
	if err != nil {
		t.Fatal(err)
	}
	codec, err := leyline.NewCodec(leyline.CodecConfig{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	rdb := bus.Redis()
	t.Cleanup(func() { rdb.Close() })
	client, err := oona.New(t.Context(), rdb, oona.Config{Codec: codec, Consumer: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// answers collects what is published on the answer streams.
type answers struct {
	mu     sync.Mutex
	byID   map[string]proto.Message
	copies int
}

func (a *answers) Handle(_ context.Context, batch []*oona.Message) []oona.Result {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, m := range batch {
		a.copies++
		a.byID[m.Body.(interface{ GetRequestId() string }).GetRequestId()] = m.Body
	}
	return make([]oona.Result, len(batch))
}

func request(id, blueprint string) *leylinepb.KernelPrefetchRequest {
	return &leylinepb.KernelPrefetchRequest{RequestId: id, BlueprintId: blueprint, IssuedAt: timestamppb.Now()}
}

// slowAnswerer takes a while for one blueprint, like a large artifact.
type slowAnswerer struct {
	*urza.Library
	until time.Time
}

func (s *slowAnswerer) Answer(ctx context.Context, r *leylinepb.KernelPrefetchRequest) (proto.Message, error) {
	if r.GetBlueprintId() == "BP001" {
		select {
		case <-time.After(time.Until(s.until)):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	if r.GetBlueprintId() == "PANIC" {
		panic("on purpose")
	}
	return s.Library.Answer(ctx, r)
}

func TestPrefetchWorkerServesBothStreams(t *testing.T) {
	dir := workDir(t, "catalog")
	synctest.Test(t, func(t *testing.T) {
		client := connectBus(t)
		l := open(t, urza.Config{WorkDir: dir})
		w := urza.NewPrefetchWorker(&slowAnswerer{l, time.Now().Add(10 * time.Second)}, client, urza.PrefetchConfig{Group: "g", MaxAttempts: 1})
		got := &answers{byID: map[string]proto.Message{}}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var wg sync.WaitGroup
		wg.Go(func() {
			cursor := oona.Cursor{client.Streams().KernelReady: {}, client.Streams().KernelErrors: {}}
			if err := client.Follow(ctx, oona.Following{From: cursor}, got); err != nil {
				t.Error(err)
			}
		})
		// Published before the first start: served all the same.
		if _, err := client.Publish(ctx, request("r1", "BP010"), request("r2", "BP404"), request("slow", "BP001"),
			request("panic", "PANIC"), request("r3", "BAD_CHECKSUM")); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Send(ctx, oona.Outgoing{Message: request("r4", "BP020"), Stream: client.Streams().Emergency}); err != nil {
			t.Fatal(err)
		}
		ready := make(chan struct{})
		wg.Go(func() {
			if err := w.RunReady(ctx, func() { close(ready) }); err != nil {
				t.Error(err)
			}
		})
		<-ready
		time.Sleep(5 * time.Second)
		if diff := cmp.Diff([]string{"r1", "r2", "r3", "r4"}, got.ids()); diff != "" {
			t.Errorf("while one artifact is slow (-want +got):\n%s", diff)
		}
		time.Sleep(10 * time.Second)
		if diff := cmp.Diff([]string{"r1", "r2", "r3", "r4", "slow"}, got.ids()); diff != "" {
			t.Errorf("in the end (-want +got):\n%s", diff)
		}
		if got.copies != 5 {
			t.Errorf("%d answers", got.copies)
		}
		if _, ok := got.byID["slow"].(*leylinepb.KernelArtifactReady); !ok {
			t.Errorf("slow: %v", got.byID["slow"])
		}
		checkPrefetchMetrics(t, w)
		stop()
		wg.Wait()
	})
}

func (a *answers) ids() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Sorted(maps.Keys(a.byID))
}

func checkPrefetchMetrics(t *testing.T, w *urza.PrefetchWorker) {
	t.Helper()
	type figure struct {
		Name, Unit string
		Value      float64
	}
	var figures []figure
	for _, m := range w.AppendMetrics(nil) {
		if strings.Contains(m.Name, "latency_ms") && m.Name != "slo.urza_prefetch_latency_ms_objective" {
			m.Value = 0
		}
		figures = append(figures, figure{m.Name, m.Unit, m.Value})
	}
	want := []figure{
		{"urza.prefetch.hits", "count", 3},
		{"urza.prefetch.misses", "count", 1},
		{"urza.prefetch.errors", "count", 1},
		{"urza.prefetch.latency_ms", "ms", 0},
		{"slo.urza_prefetch_latency_ms_objective", "ms", 200},
		{"slo.urza_prefetch_latency_ms_actual", "ms", 0},
	}
	if diff := cmp.Diff(want, figures); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}

// brokenBus fails on one stream.
type brokenBus struct{ err error }

func (b brokenBus) Streams() oona.Streams {
	return oona.Streams{KernelRequests: "requests", Emergency: "emergency"}
}

func (b brokenBus) Consume(ctx context.Context, sub oona.Subscription, _ oona.Handler) error {
	if sub.Stream == "emergency" {
		return b.err
	}
	<-ctx.Done()
	return nil
}

func TestPrefetchWorkerStopsWhole(t *testing.T) {
	broken := errors.New("broken")
	l := open(t, urza.Config{WorkDir: t.TempDir()})
	err := urza.NewPrefetchWorker(l, brokenBus{broken}, urza.PrefetchConfig{}).Run(t.Context())
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}
