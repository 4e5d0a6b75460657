package oona_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
	"github.com/esper-lite/esper/oona/oonatest"
)

// journal is a handler that writes down the ids of the answers it sees.
type journal struct {
	mu   sync.Mutex
	ids  []string
	fail func(id string, attempt int) error
}

func (j *journal) Handle(_ context.Context, batch []*oona.Message) []oona.Result {
	j.mu.Lock()
	defer j.mu.Unlock()
	results := make([]oona.Result, len(batch))
	for i, m := range batch {
		id := m.Body.(*pb.KernelArtifactReady).GetRequestId()
		if j.fail != nil {
			if results[i].Err = j.fail(id, m.Attempts); results[i].Err != nil {
				continue
			}
		}
		j.ids = append(j.ids, id)
	}
	return results
}

func (j *journal) wants(want ...string) func() error {
	return func() error {
		j.mu.Lock()
		defer j.mu.Unlock()
		if diff := cmp.Diff(want, j.ids); diff != "" {
			return fmt.Errorf("followed (-want +got):\n%s", diff)
		}
		return nil
	}
}

// follow runs a follower in the background; the function it returns stops it.
func follow(t testing.TB, c *oona.Client, f oona.Following, h oona.Handler) (stop func()) {
	t.Helper()
	stop = sync.OnceFunc(followUntil(t, c, f, h))
	t.Cleanup(stop)
	return stop
}

// followUntil is follow for a bubble, where a test must end what it started itself.
func followUntil(t testing.TB, c *oona.Client, f oona.Following, h oona.Handler) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := c.Follow(ctx, f, h); err != nil {
			t.Errorf("follow: %v", err)
		}
	})
	return func() { cancel(); wg.Wait() }
}

func ready(id string) *pb.KernelArtifactReady { return &pb.KernelArtifactReady{RequestId: id} }

func ids(prefix string, from, to int) []string {
	var all []string
	for i := from; i < to; i++ {
		all = append(all, fmt.Sprintf("%s%d", prefix, i))
	}
	return all
}

func publishReady(t testing.TB, c *oona.Client, all []string) {
	t.Helper()
	for chunk := range slices.Chunk(all, 50) {
		var out []oona.Outgoing
		for _, id := range chunk {
			out = append(out, oona.Outgoing{Message: ready(id)})
		}
		if _, err := c.Send(t.Context(), out...); err != nil {
			t.Fatal(err)
		}
	}
}

// Every follower sees every message, in order, and resumes where it was.
func TestFollowInOrderAndResume(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		tail, err := c.Tail(t.Context(), c.Streams().KernelReady)
		if err != nil {
			t.Fatal(err)
		}
		publishReady(t, c, ids("r", 0, 300))
		var mu sync.Mutex
		stored := make(oona.Cursor)
		f := oona.Following{From: tail, Advance: func(s string, at oona.Position) {
			mu.Lock()
			defer mu.Unlock()
			stored[s] = at
		}}
		var one, two journal
		stop := follow(t, c, f, &one)
		follow(t, c, oona.Following{From: tail, Batch: 7}, &two)
		eventually(t, one.wants(ids("r", 0, 300)...))
		eventually(t, two.wants(ids("r", 0, 300)...))
		stop()
		publishReady(t, c, ids("r", 300, 320))
		var resumed journal
		follow(t, c, oona.Following{From: stored}, &resumed)
		eventually(t, resumed.wants(ids("r", 300, 320)...))
		eventually(t, two.wants(ids("r", 0, 320)...))
		// A tail taken now is behind all of these.
		tail, err = c.Tail(t.Context(), c.Streams().KernelReady)
		if err != nil {
			t.Fatal(err)
		}
		publishReady(t, c, []string{"last"})
		var late journal
		follow(t, c, oona.Following{From: tail}, &late)
		eventually(t, late.wants("last"))
	})
}

// A message that fails holds back those behind it, until it succeeds or its
// attempts are exhausted.
func TestFollowRetriesInOrder(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		publishReady(t, c, ids("r", 0, 6))
		j := &journal{fail: func(id string, attempt int) error {
			switch {
			case id == "r1" && attempt < 2:
				return errors.New("not yet")
			case id == "r2":
				return errors.New("never")
			case id == "r3":
				return oona.Drop(leyline.Rejected)
			case id == "r4":
				panic("no")
			}
			return nil
		}}
		f := oona.Following{From: oona.Cursor{c.Streams().KernelReady: {}}, MaxAttempts: 3, RetryBase: 1, RetryMax: 1}
		follow(t, c, f, j)
		eventually(t, j.wants("r0", "r1", "r5"))
		wantRefused(t, leyline.AttemptsExhausted, 2, c)
		wantRefused(t, leyline.Rejected, 1, c)
	})
}

// Entries that were trimmed before they were seen are reported with their
// number; miniredis does not count what was added.
func TestFollowReportsGaps(t *testing.T) {
	rdb := realRedis(t)
	c := newClient(t, rdb, "a")
	stream := c.Streams().KernelReady
	publishReady(t, c, ids("r", 0, 10))
	var mu sync.Mutex
	var gaps []oona.Gap
	stored := make(oona.Cursor)
	f := oona.Following{
		From:    oona.Cursor{stream: {}},
		Advance: func(s string, at oona.Position) { mu.Lock(); stored[s] = at; mu.Unlock() },
		OnGap:   func(g oona.Gap) { mu.Lock(); gaps = append(gaps, g); mu.Unlock() },
	}
	var j journal
	stop := follow(t, c, f, &j)
	eventually(t, j.wants(ids("r", 0, 10)...))
	stop()
	at := stored[stream]
	publishReady(t, c, ids("r", 10, 30))
	if err := rdb.XTrimMaxLen(t.Context(), stream, 5).Err(); err != nil {
		t.Fatal(err)
	}
	f.From = stored
	follow(t, c, f, &j)
	eventually(t, j.wants(append(ids("r", 0, 10), ids("r", 25, 30)...)...))
	mu.Lock()
	defer mu.Unlock()
	first := rdb.XRangeN(t.Context(), stream, "-", "+", 1).Val()[0].ID
	next, err := oona.ParseEntryID(first)
	if err != nil {
		t.Fatal(err)
	}
	want := []oona.Gap{{Stream: stream, After: at, Next: next, Entries: 15}}
	if diff := cmp.Diff(want, gaps); diff != "" {
		t.Errorf("gaps (-want +got):\n%s", diff)
	}
}

// What was trimmed after it was seen is no gap.
func TestFollowDoesNotMissWhatItSaw(t *testing.T) {
	rdb := realRedis(t)
	c := newClient(t, rdb, "a")
	stream := c.Streams().KernelReady
	stored := make(oona.Cursor)
	f := oona.Following{
		From:    oona.Cursor{stream: {}},
		Advance: func(s string, at oona.Position) { stored[s] = at },
		OnGap:   func(g oona.Gap) { t.Errorf("gap %+v", g) },
	}
	for round := range 4 {
		var j journal
		stop := follow(t, c, f, &j)
		batch := ids("r", 10*round, 10*round+10)
		publishReady(t, c, batch)
		eventually(t, j.wants(batch...))
		stop()
		f.From = stored
		// All of it, all but a few, and nothing.
		if err := rdb.XTrimMaxLen(t.Context(), stream, int64(4*(round%3))).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if n := stored[stream].Index; n != 40 {
		t.Errorf("index %d, want 40", n)
	}
}

func TestFollowRecreatedStream(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		stream := c.Streams().KernelReady
		far := oona.Position{ID: oona.EntryID{Ms: 1 << 62}, Index: 3}
		publishReady(t, c, ids("r", 0, 3))
		gaps := make(chan oona.Gap, 1)
		var j journal
		follow(t, c, oona.Following{From: oona.Cursor{stream: far}, OnGap: func(g oona.Gap) { gaps <- g }}, &j)
		eventually(t, j.wants(ids("r", 0, 3)...))
		if g := <-gaps; g.After != far {
			t.Errorf("gap after %v, want %v", g.After, far)
		}
	})
}

// An entry whose id is older than what a follower saw the end of is refused.
func TestFollowRefusesBackDated(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		s := c.Streams()
		var j journal
		read := make(chan string, 10)
		follow(t, c, oona.Following{
			From:    oona.Cursor{s.KernelReady: {}, s.KernelErrors: {}},
			Types:   []pb.BusMessageType{pb.BusMessageType_BUS_MESSAGE_TYPE_KERNEL_PREFETCH_READY},
			Advance: func(stream string, _ oona.Position) { read <- stream },
		}, &j)
		// Something on the other stream ends a read that found nothing on this.
		if _, err := c.Publish(t.Context(), &pb.KernelArtifactError{RequestId: "other"}); err != nil {
			t.Fatal(err)
		}
		if stream := <-read; stream != s.KernelErrors {
			t.Fatalf("read %s", stream)
		}
		sealedAt := func(id string, age time.Duration) map[string]any {
			payload, sig, err := newCodec(t).Seal(nil, ready(id), leyline.Header{IssuedAt: time.Now().Add(-age)})
			if err != nil {
				t.Fatal(err)
			}
			return map[string]any{"payload": string(payload), "signature": sig.String()}
		}
		addAt(t, rdb, s.KernelReady, agedID(20*time.Second), sealedAt("old", 21*time.Second))
		add(t, rdb, s.KernelReady, sealedAt("good", 21*time.Second))
		eventually(t, j.wants("good"))
		wantRefused(t, leyline.Stale, 1, c)
	})
}

// With a replay store, one of all replicas acts on a message, and nobody on its
// copy.
func TestFollowWithReplayStore(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		a, b := newClient(t, rdb, "a"), newClient(t, rdb, "b")
		stream := a.Streams().KernelReady
		var one, two journal
		follow(t, a, oona.Following{From: oona.Cursor{stream: {}}, Replays: a.ReplayStore("test")}, &one)
		follow(t, b, oona.Following{From: oona.Cursor{stream: {}}, Replays: b.ReplayStore("test")}, &two)
		publishReady(t, a, ids("r", 0, 50))
		recorded, err := rdb.XRange(t.Context(), stream, "-", "+").Result()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range recorded {
			add(t, rdb, stream, e.Values)
		}
		eventually(t, func() error {
			one.mu.Lock()
			defer one.mu.Unlock()
			two.mu.Lock()
			defer two.mu.Unlock()
			all := append(slices.Clone(one.ids), two.ids...)
			if len(all) < 50 {
				return fmt.Errorf("%d acted on", len(all))
			}
			slices.Sort(all)
			if len(slices.Compact(slices.Clone(all))) != len(all) {
				return fmt.Errorf("acted twice: %v", all)
			}
			return nil
		})
	})
}

// Whoever waits for the bus hears that it is back when it answers, not only when
// there is something to read, and nothing while it is there or away.
func TestFollowTellsOfRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := oonatest.New()
		defer bus.Close()
		f := oonatest.NewFaults(bus.Dial)
		rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379", MaxRetries: -1, Dialer: f.Dial})
		defer func() { _ = rdb.Close() }()
		c, err := oona.New(t.Context(), rdb, oona.Config{Codec: newCodec(t)})
		if err != nil {
			t.Fatal(err)
		}
		var told []time.Time
		stop := follow(t, c, oona.Following{
			From:      oona.Cursor{c.Streams().Emergency: {}},
			Recovered: func() { told = append(told, time.Now()) },
		}, answering())
		time.Sleep(10 * time.Second)
		f.Plan(func(int, string) oonatest.Fault { return oonatest.Fault{Kind: oonatest.BreakBefore} })
		time.Sleep(time.Minute)
		f.Plan(nil)
		back := time.Now()
		time.Sleep(time.Minute)
		stop()
		if len(told) != 1 || told[0].Before(back) || told[0].Sub(back) > 2500*time.Millisecond {
			t.Errorf("told at %v; want once, within two seconds and a quarter of %v", told, back)
		}
	})
}
