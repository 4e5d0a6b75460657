//go:build unix

package redistest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// masterName is what the sentinel calls the master.
const masterName = "oona"

// Sentinel is a master with a replica, and a sentinel that watches both and makes
// the replica the master when that is gone for a second.
type Sentinel struct {
	Master, Replica *Server
	t               testing.TB
	addr            string
}

// StartSentinel starts them and waits until the sentinel knows both. They end
// with the test. Like [Start], it skips the test on a machine without Redis.
func StartSentinel(t testing.TB) *Sentinel {
	t.Helper()
	s := &Sentinel{t: t, Master: Start(t)}
	host, port, err := net.SplitHostPort(s.Master.Addr())
	if err != nil {
		t.Fatalf("redistest: %v", err)
	}
	s.Replica = Start(t, "--replicaof", host+" "+port, "--repl-diskless-sync-delay", "0")
	s.start(host, port)
	if err := s.await(); err != nil {
		t.Fatalf("redistest: %v", err)
	}
	return s
}

func (s *Sentinel) start(host, port string) {
	s.t.Helper()
	own := strconv.Itoa(freePort(s.t))
	dir := s.t.TempDir()
	config := filepath.Join(dir, "sentinel.conf")
	text := fmt.Sprintf(`port %s
bind 127.0.0.1
dir %s
sentinel monitor %s %s %s 1
sentinel down-after-milliseconds %s 1000
sentinel failover-timeout %s 10000
`, own, dir, masterName, host, port, masterName, masterName)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		s.t.Fatalf("redistest: %v", err)
	}
	cmd := exec.Command("redis-server", config, "--sentinel")
	if err := cmd.Start(); err != nil {
		s.t.Fatalf("redistest: %v", err)
	}
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
	})
	s.addr = net.JoinHostPort("127.0.0.1", own)
}

// URL returns the address for oona.Connect.
func (s *Sentinel) URL() string { return "redis+sentinel://" + s.addr + "/" + masterName + "/0" }

// Client returns a new client that follows the master, closed with the test.
func (s *Sentinel) Client() *redis.Client {
	rdb := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: masterName, SentinelAddrs: []string{s.addr}, MaxRetries: -1})
	s.t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// MasterAddr returns who the sentinel says is the master.
func (s *Sentinel) MasterAddr(ctx context.Context) (string, error) {
	rdb := redis.NewSentinelClient(&redis.Options{Addr: s.addr, MaxRetries: -1})
	defer func() { _ = rdb.Close() }()
	addr, err := rdb.GetMasterAddrByName(ctx, masterName).Result()
	if err != nil {
		return "", fmt.Errorf("redistest: sentinel: %w", err)
	}
	return net.JoinHostPort(addr[0], addr[1]), nil
}

// await polls until the sentinel knows the replica and the replica is in step,
// for at most 30 seconds.
func (s *Sentinel) await() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	rdb := redis.NewSentinelClient(&redis.Options{Addr: s.addr, MaxRetries: -1})
	defer func() { _ = rdb.Close() }()
	for {
		replicas, err := rdb.Replicas(ctx, masterName).Result()
		if err == nil && len(replicas) == 1 && replicas[0]["master-link-status"] == "ok" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("sentinel does not see the replica: %v, %w", replicas, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}
