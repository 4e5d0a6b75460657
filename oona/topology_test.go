package oona_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/esper-lite/esper/leyline"
	"github.com/esper-lite/esper/oona"
	"github.com/esper-lite/esper/oona/oonatest/redistest"
)

// connect returns a client of the Redis at a URL, closed with the test.
func connect(t testing.TB, url, consumer string) *oona.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c, err := oona.Connect(ctx, oona.Config{URL: url, Codec: newCodec(t), Consumer: consumer})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// everything uses all that a client can do once, and fails the test where that
// does not work.
func everything(t *testing.T, rdb redis.UniversalClient, c *oona.Client) {
	t.Helper()
	ctx, s := t.Context(), c.Streams()
	tail, err := c.Tail(ctx, s.KernelReady, s.Normal)
	if err != nil {
		t.Fatal(err)
	}
	publish(t, c, requests(20)...)
	if _, err := c.Send(ctx, oona.Outgoing{Message: request("req-20"), Once: true}); err != nil {
		t.Fatal(err)
	}
	var failedOnce atomic.Bool
	handler := oona.HandlerFunc(func(ctx context.Context, batch []*oona.Message) []oona.Result {
		results := answering().Handle(ctx, batch)
		if failedOnce.CompareAndSwap(false, true) {
			results[0].Err = errors.New("once")
		}
		for i, m := range batch {
			if requestID(m.Body) == "bad" {
				results[i].Err = oona.DeadLetter(leyline.Rejected)
			}
		}
		return results
	})
	stop := consume(t, c, oona.Subscription{ClaimFirst: true, RetryBase: 1, RetryMax: 1}, handler)
	eventually(t, settled(t, rdb, s.KernelRequests, 21))
	stop()
	// What a dead member left, and a dead letter.
	publish(t, c, request("req-21"))
	if err := rdb.XReadGroup(ctx, &redis.XReadGroupArgs{Group: "weatherlight", Consumer: "dead", Streams: []string{s.KernelRequests, ">"}, Block: -1}).Err(); err != nil {
		t.Fatal(err)
	}
	publish(t, c, request("bad"))
	stop = consume(t, c, oona.Subscription{ReclaimIdle: time.Second}, handler)
	eventually(t, settled(t, rdb, s.KernelRequests, 23))
	stop()
	oneEach(t, answers(t, rdb, s), 22)
	letters, err := c.DeadLetters().List(ctx, oona.EntryID{}, 0)
	if err != nil || len(letters) != 1 {
		t.Fatalf("letters %v, %v", letters, err)
	}
	if _, err := c.DeadLetters().Replay(ctx, letters[0].ID); err != nil {
		t.Error(err)
	}
	if _, err := c.DeadLetters().Drop(ctx, letters[0].ID); err != nil {
		t.Error(err)
	}
	var seen journal
	stop = follow(t, c, oona.Following{From: tail, Replays: c.ReplayStore("test")}, &seen)
	eventually(t, func() error {
		seen.mu.Lock()
		defer seen.mu.Unlock()
		if len(seen.ids) != 22 {
			return fmt.Errorf("followed %d answers, want 22", len(seen.ids))
		}
		return nil
	})
	stop()
	sweep(t, housekeeper(t, c, oona.Housekeeping{Retentions: []oona.Retention{
		{Stream: s.KernelRequests, Age: 1, Unfinished: true, Group: "weatherlight"}, {Stream: s.Normal},
	}}))
	if err := c.Sample(ctx); err != nil {
		t.Error(err)
	}
	if err := c.Ping(ctx); err != nil {
		t.Error(err)
	}
	if err := metricIs(c, "oona.bus_errors_total", 0); err != nil {
		t.Error(err)
	}
}

func TestUnixSocket(t *testing.T) {
	path := t.TempDir() + "/redis.sock"
	server := redistest.Start(t, "--unixsocket", path)
	everything(t, server.Client(), connect(t, "unix://"+path+"?db=0", "a"))
}

func TestTLS(t *testing.T) {
	server := redistest.StartTLS(t)
	t.Run("by URL", func(t *testing.T) {
		everything(t, server.Client(), connect(t, server.URL()+"?skip_verify=true", "a"))
	})
	t.Run("a client that trusts it", func(t *testing.T) {
		server.Client().FlushAll(t.Context())
		everything(t, server.Client(), newClient(t, server.Client(), "a"))
	})
	t.Run("nobody else", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := oona.Connect(ctx, oona.Config{URL: server.URL(), Codec: newCodec(t)}); err == nil {
			t.Error("a server whose certificate nobody signed was trusted")
		}
	})
}

// TestCluster runs over three nodes. Names that do not share a slot are refused.
func TestCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("starts three servers")
	}
	cluster := redistest.StartCluster(t, 3, 0)
	c := connect(t, cluster.URL(), "a")
	if got := c.Streams().KernelRequests; got != "{oona}.kernels.requests" {
		t.Errorf("stream %q", got)
	}
	everything(t, cluster.Client(), c)
	_, err := oona.Connect(t.Context(), oona.Config{URL: cluster.URL(), Codec: newCodec(t), Streams: oona.Streams{Normal: "oona.normal"}})
	if !errors.Is(err, oona.ErrStreams) {
		t.Errorf("a name without the tag: %v", err)
	}
	if err := c.Consume(t.Context(), oona.Subscription{Stream: "elsewhere", Group: "g"}, answering()); !errors.Is(err, oona.ErrStreams) {
		t.Errorf("consuming a stream without the tag: %v", err)
	}
	if err := c.Follow(t.Context(), oona.Following{From: oona.Cursor{"elsewhere": {}}}, answering()); !errors.Is(err, oona.ErrStreams) {
		t.Errorf("following a stream without the tag: %v", err)
	}
	// A client that the embedder made.
	made, err := oona.New(t.Context(), cluster.Client(), oona.Config{Codec: newCodec(t), Consumer: "b"})
	if err != nil {
		t.Fatal(err)
	}
	publish(t, made, request("made"))
}

// failover publishes and answers while fail ends the master, and checks that the
// service continues within ten seconds of the new master, and that of what this
// has nothing is lost or answered twice. moved tells when there is a new master.
func failover(t *testing.T, url string, rdb redis.UniversalClient, fail func(), moved func() error) {
	t.Helper()
	a, b := connect(t, url, "a"), connect(t, url, "b")
	s := a.Streams()
	sub := oona.Subscription{ReclaimIdle: time.Second, Batch: 16}
	consume(t, a, sub, answering())
	consume(t, b, sub, answering())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var published atomic.Int64
	var publishing sync.WaitGroup
	publishing.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			msg := request(fmt.Sprintf("req-%d", i))
			for ctx.Err() == nil {
				if _, err := a.Publish(ctx, msg); err == nil {
					break
				}
				pause(t, 20*time.Millisecond)
			}
			published.Store(int64(i))
			pause(t, 2*time.Millisecond)
		}
	})
	eventuallyWithin(t, 30*time.Second, func() error { return atLeast(&published, 200) })
	fail()
	eventuallyWithin(t, 30*time.Second, moved)
	isNew := time.Now()
	before := published.Load()
	answered := len(untilSure(t, func() (map[string]int, error) { return readAnswers(t, rdb, s) }))
	eventuallyWithin(t, 20*time.Second, func() error {
		got, err := readAnswers(t, rdb, s)
		if err == nil && len(got) < answered+50 {
			err = fmt.Errorf("%d answers after the failover", len(got)-answered)
		}
		return errors.Join(err, atLeast(&published, before+50))
	})
	if took := time.Since(isNew); took > 10*time.Second {
		t.Errorf("the service continued %v after the new master", took)
	} else {
		t.Logf("the service continued within %v of the new master", took.Round(time.Millisecond))
	}
	cancel()
	publishing.Wait()
	var wanted map[string]int
	eventuallyWithin(t, 30*time.Second, func() error {
		wanted = make(map[string]int)
		for _, e := range rdb.XRange(t.Context(), s.KernelRequests, "-", "+").Val() {
			wanted[requestID(open(t, e))] = 1
		}
		got := answers(t, rdb, s)
		for id := range wanted {
			if got[id] == 0 {
				return fmt.Errorf("%d of %d requests answered, not %s", len(got), len(wanted), id)
			}
		}
		return nil
	})
	for id, n := range answers(t, rdb, s) {
		if n != 1 {
			t.Errorf("%s has %d answers", id, n)
		}
	}
}

func atLeast(n *atomic.Int64, want int64) error {
	if got := n.Load(); got < want {
		return fmt.Errorf("%d, want at least %d", got, want)
	}
	return nil
}

func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts three servers")
	}
	s := redistest.StartSentinel(t)
	failover(t, s.URL(), s.Client(), s.Master.Kill, func() error {
		addr, err := s.MasterAddr(t.Context())
		if err == nil && addr != s.Replica.Addr() {
			err = fmt.Errorf("the master is %s", addr)
		}
		return err
	})
}

func TestClusterFailover(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts six servers")
	}
	cluster := redistest.StartCluster(t, 3, 1)
	old, err := cluster.Master(t.Context(), "{oona}")
	if err != nil {
		t.Fatal(err)
	}
	failover(t, cluster.URL(), cluster.Client(), old.Kill, func() error {
		now, err := cluster.Master(t.Context(), "{oona}")
		if err == nil && now == old {
			err = errors.New("the master is the old one")
		}
		return err
	})
}

// A planned failover leaves the old master up, as a replica that refuses: nobody
// notices it by a broken connection.
func TestClusterHandover(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts six servers")
	}
	cluster := redistest.StartCluster(t, 3, 1)
	old, err := cluster.Master(t.Context(), "{oona}")
	if err != nil {
		t.Fatal(err)
	}
	replica := replicaOf(t, cluster, old)
	handOver := func() {
		if err := replica.Client().ClusterFailover(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
	}
	failover(t, cluster.URL(), cluster.Client(), handOver, func() error {
		now, err := cluster.Master(t.Context(), "{oona}")
		if err == nil && now != replica {
			err = errors.New("the master is not the replica")
		}
		return err
	})
}

// replicaOf finds the replica of a master, once it follows.
func replicaOf(t *testing.T, cluster *redistest.Cluster, master *redistest.Server) (replica *redistest.Server) {
	t.Helper()
	_, port, err := net.SplitHostPort(master.Addr())
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		for _, node := range cluster.Nodes {
			info := node.Client().Info(t.Context(), "replication").Val()
			if strings.Contains(info, "master_port:"+port) && strings.Contains(info, "master_link_status:up") {
				replica = node
				return nil
			}
		}
		return errors.New("no replica follows the master")
	})
	return replica
}

// TestHandoverBehindOneAddress: as with managed services, the name leads to the new
// master, while connections to the old one, a replica now, stay open.
func TestHandoverBehindOneAddress(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts two servers")
	}
	old, next := redistest.Start(t), redistest.Start(t)
	follow := func(replica, master *redistest.Server) {
		host, port, err := net.SplitHostPort(master.Addr())
		if err == nil {
			err = replica.Client().Do(t.Context(), "REPLICAOF", host, port).Err()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	follow(next, old)
	eventually(t, func() error {
		if info := next.Client().Info(t.Context(), "replication").Val(); !strings.Contains(info, "master_link_status:up") {
			return errors.New("the replica does not follow yet")
		}
		return nil
	})
	var master atomic.Pointer[redistest.Server]
	master.Store(old)
	url := "redis://" + forward(t, func() string { return master.Load().Addr() })
	failover(t, url, next.Client(), func() {
		if err := next.Client().Do(t.Context(), "REPLICAOF", "NO", "ONE").Err(); err != nil {
			t.Fatal(err)
		}
		follow(old, next)
		master.Store(next)
	}, func() error { return nil })
}

// forward listens, and leads each connection to where target says at that time.
func forward(t *testing.T, target func() string) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", target())
			if err != nil {
				_ = in.Close()
				continue
			}
			for _, pipe := range [][2]net.Conn{{in, out}, {out, in}} {
				go func() {
					_, _ = io.Copy(pipe[0], pipe[1])
					_, _ = in.Close(), out.Close()
				}()
			}
		}
	}()
	return l.Addr().String()
}
