package contender_test

import (
	"context"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/esper-lite/esper/cmd/esper-bench/internal/contender"
	"github.com/esper-lite/esper/cmd/esper-bench/internal/redisserver"
)

// Every contender answers every request once: what is compared is the same work.
func TestEveryRequestIsAnswered(t *testing.T) {
	needRedis(t)
	const n, catalogue = 300, 3
	dir := t.TempDir()
	if err := contender.MakeLibrary(t.Context(), dir, catalogue); err != nil {
		t.Fatal(err)
	}
	for _, k := range contender.Kinds {
		if k.Program {
			continue // tested by the service itself
		}
		t.Run(k.Name, func(t *testing.T) {
			server, err := redisserver.Start(t.Context(), redisserver.Program)
			if err != nil {
				t.Fatal(err)
			}
			defer server.Stop()
			c, err := k.New(t.Context(), contender.Options{
				Addr: server.Addr(), Consumer: "c", Batch: 64, Payload: 150, Catalogue: catalogue, Dir: dir,
			})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			serve(t, c, n)
			if f, ok := c.(contender.Follower); ok != k.Batches {
				t.Errorf("follows: %v", ok)
			} else if ok {
				follow(t, f, n)
			}
		})
	}
}

// serve publishes numbers 0 to n-1 and waits for n answers, and no more.
func serve(t *testing.T, c contender.Contender, n int) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	ready := make(chan struct{})
	wg.Go(func() {
		if err := c.Serve(ctx, sync.OnceFunc(func() { close(ready) })); err != nil {
			t.Error(err)
		}
	})
	<-ready
	if err := c.Publish(t.Context(), 0, n); err != nil {
		t.Fatal(err)
	}
	awaitAnswers(t, c, n)
}

func awaitAnswers(t *testing.T, c contender.Contender, n int) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		have, err := c.Answered(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if have == n {
			return
		}
		if have > n || time.Now().After(deadline) {
			t.Fatalf("%d answers to %d requests", have, n)
		}
	}
}

// follow sees the number of each answer to n further requests once.
func follow(t *testing.T, c contender.Follower, n int) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	ready, all := make(chan struct{}), make(chan struct{})
	seen := make(map[int]int)
	wg.Go(func() {
		err := c.Follow(ctx, func() { close(ready) }, func(number int) {
			if seen[number]++; len(seen) == n {
				close(all)
			}
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-ready
	wg.Go(func() {
		if err := c.Serve(ctx, func() {}); err != nil {
			t.Error(err)
		}
	})
	if err := c.Publish(t.Context(), n, n); err != nil {
		t.Fatal(err)
	}
	select {
	case <-all:
	case <-time.After(30 * time.Second):
		t.Fatalf("followed %d of %d answers", len(seen), n)
	}
	for i := n; i < 2*n; i++ {
		if seen[i] != 1 {
			t.Errorf("answer %d was seen %d times", i, seen[i])
		}
	}
}

// needRedis skips a test where there is no redis-server, unless there has to be.
func needRedis(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err == nil {
		return
	}
	if os.Getenv("WEATHERLIGHT_TEST_STRICT") == "1" {
		t.Fatal("no redis-server on this machine")
	}
	t.Skip("no redis-server on this machine")
}
