package kasmina_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"google.golang.org/protobuf/proto"

	"github.com/esper-lite/esper/kasmina"
	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
	"github.com/esper-lite/esper/oona/oonatest"
)

// fleet is a bus inside the process, for tests in a bubble.
type fleet struct {
	t    *testing.T
	bus  *oonatest.Bus
	keys *leyline.Keyring
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	keys, err := leyline.NewKeyring(leyline.NewSecret("a secret of good length"))
	if err != nil {
		t.Fatal(err)
	}
	f := &fleet{t: t, bus: oonatest.New(), keys: keys}
	t.Cleanup(f.bus.Close)
	return f
}

func (f *fleet) client(name string) *oona.Client {
	f.t.Helper()
	codec, err := leyline.NewCodec(leyline.CodecConfig{Keys: f.keys, Source: name})
	if err != nil {
		f.t.Fatal(err)
	}
	rdb := f.bus.Redis()
	f.t.Cleanup(func() { _ = rdb.Close() })
	c, err := oona.New(f.t.Context(), rdb, oona.Config{Codec: codec, Consumer: name})
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

// background runs something until the test ends, and returns what stops it
// sooner.
func (f *fleet) background(run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(f.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := run(ctx); err != nil {
			f.t.Errorf("run: %v", err)
		}
	})
	stop = func() { cancel(); wg.Wait() }
	f.t.Cleanup(stop)
	return stop
}

// desk answers kernel requests like the library of the fleet.
type desk struct {
	client *oona.Client
	mu     sync.Mutex
	asked  []*pb.KernelPrefetchRequest
}

// serve answers with what answer returns, nothing for nil.
func (f *fleet) serve(answer func(n int, r *pb.KernelPrefetchRequest) proto.Message) *desk {
	d := &desk{client: f.client("library")}
	f.background(func(ctx context.Context) error {
		return d.client.Consume(ctx, oona.Subscription{Stream: d.client.Streams().KernelRequests, Group: "weatherlight"},
			oona.Each(func(_ context.Context, r *pb.KernelPrefetchRequest, _ *oona.Message) ([]proto.Message, error) {
				d.mu.Lock()
				d.asked = append(d.asked, r)
				n := len(d.asked)
				d.mu.Unlock()
				if a := answer(n, r); a != nil {
					return []proto.Message{a}, nil
				}
				return nil, nil
			}))
	})
	return d
}

func (d *desk) requests() []*pb.KernelPrefetchRequest {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.asked)
}

func (d *desk) publish(t *testing.T, msgs ...proto.Message) {
	t.Helper()
	if _, err := d.client.Publish(t.Context(), msgs...); err != nil {
		t.Fatal(err)
	}
}

func readyFor(r *pb.KernelPrefetchRequest) *pb.KernelArtifactReady {
	return &pb.KernelArtifactReady{
		RequestId: r.RequestId, BlueprintId: r.BlueprintId, ArtifactRef: "/" + r.BlueprintId,
		Checksum: sum(r.BlueprintId), GuardDigest: "guard", PrewarmP50Ms: 12.5, PrewarmP95Ms: 18.25,
	}
}

func alwaysReady(_ int, r *pb.KernelPrefetchRequest) proto.Message { return readyFor(r) }

// newCoordinator returns a coordinator that runs, with a forge for a runtime.
func (f *fleet) newCoordinator(cfg kasmina.CoordinatorConfig) (*kasmina.Coordinator, *forge) {
	f.t.Helper()
	made := &forge{}
	if cfg.Cache == nil {
		cfg.Cache = newCache(f.t, kasmina.CacheConfig{Runtime: made})
	}
	if cfg.Bus == nil {
		cfg.Bus = f.client("trainer")
	}
	c, err := kasmina.NewCoordinator(cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	f.run(c)
	return c, made
}

// run runs a coordinator and returns when it is ready.
func (f *fleet) run(c *kasmina.Coordinator) (stop func()) {
	ready := make(chan struct{})
	stop = f.background(func(ctx context.Context) error { return c.RunReady(ctx, func() { close(ready) }) })
	<-ready
	return stop
}

// inFleet runs a test in a bubble.
func inFleet(t *testing.T, test func(t *testing.T, f *fleet)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newFleet(t)) })
}

// flaky is a bus that can be made to take nothing.
type flaky struct {
	*oona.Client
	away     atomic.Bool
	swallow  atomic.Bool // publishes, but says that it did not
	attempts atomic.Int64
}

var errAway = errors.New("connection refused")

func (b *flaky) Publish(ctx context.Context, msgs ...proto.Message) ([]oona.Receipt, error) {
	b.attempts.Add(1)
	if b.away.Load() {
		return nil, errAway
	}
	receipts, err := b.Client.Publish(ctx, msgs...)
	if b.swallow.Load() {
		return nil, errAway
	}
	return receipts, err
}

func (b *flaky) Tail(ctx context.Context, streams ...string) (oona.Cursor, error) {
	if b.away.Load() {
		return nil, errAway
	}
	return b.Client.Tail(ctx, streams...)
}
