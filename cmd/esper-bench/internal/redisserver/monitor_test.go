package redisserver_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/esper-lite/esper/cmd/esper-bench/internal/redisserver"
)

// A client finds its way through a cluster, and all of the cluster's CPU time
// counts.
func TestCluster(t *testing.T) {
	needRedis(t)
	for _, n := range []int{1, 3} {
		s, err := redisserver.StartCluster(t.Context(), redisserver.Program, n)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Stop()
		c := redisserver.Connect(s.Addr(), true)
		defer c.Close()
		for _, key := range []string{"a", "b", "{oona}.c"} {
			if err := c.Set(t.Context(), key, "v", 0).Err(); err != nil {
				t.Errorf("%d nodes: %s: %v", n, key, err)
			}
		}
		if has, err := s.Admin().Exists(t.Context(), "{oona}.c").Result(); has != 1 {
			t.Errorf("%d nodes: the server is not the one with the contenders' keys: %v", n, err)
		}
		if used, err := s.CPU(t.Context()); used <= 0 || err != nil {
			t.Errorf("%d nodes: CPU %v: %v", n, used, err)
		}
	}
}

func TestMonitorTellsScriptsFromClients(t *testing.T) {
	needRedis(t)
	ctx := t.Context()
	s, err := redisserver.Start(ctx, redisserver.Program)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	stop, err := s.Monitor("get")
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 3<<20) // longer than any buffer of ours
	for range 3 {
		s.Admin().Set(ctx, "k", long, 0)
		s.Admin().Eval(ctx, "redis.call('SET', KEYS[1], 'v') return redis.call('INCR', KEYS[2])", []string{"k", "n"})
		s.Admin().Get(ctx, "k")
	}
	calls, err := stop()
	if err != nil {
		t.Fatal(err)
	}
	if calls.Sent["set"] != 3 || calls.Sent["eval"] != 3 || calls.Sent["get"] != 0 {
		t.Errorf("sent: %v", calls.Sent)
	}
	if calls.Script["set"] != 3 || calls.Script["incr"] != 3 || len(calls.Script) != 2 {
		t.Errorf("in script: %v", calls.Script)
	}
	commands, err := s.Commands(ctx)
	if err != nil || commands["set"].Calls != 6 {
		t.Errorf("commandstats: %v %v", commands, err)
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
