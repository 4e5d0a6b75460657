//go:build unix

package redistest

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Cluster is a Redis Cluster of a test: masters that share the slots, and
// replicas of them.
type Cluster struct {
	Nodes []*Server
	t     testing.TB
}

// StartCluster starts a cluster and waits until it serves every slot. It ends
// with the test. Like [Start], it skips the test on a machine without Redis.
func StartCluster(t testing.TB, masters, replicasEach int) *Cluster {
	t.Helper()
	if _, err := exec.LookPath("redis-cli"); err != nil {
		missing(t, "redis-cli")
	}
	c := &Cluster{t: t}
	create := []string{"--cluster", "create"}
	for range masters * (1 + replicasEach) {
		s := Start(t,
			"--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf",
			"--cluster-port", strconv.Itoa(freePort(t)),
			"--cluster-node-timeout", "1500", "--cluster-replica-validity-factor", "0")
		c.Nodes = append(c.Nodes, s)
		create = append(create, s.Addr())
	}
	create = append(create, "--cluster-replicas", strconv.Itoa(replicasEach), "--cluster-yes")
	if out, err := exec.Command("redis-cli", create...).CombinedOutput(); err != nil {
		t.Fatalf("redistest: create cluster: %v\n%s", err, out)
	}
	if err := c.await(); err != nil {
		t.Fatalf("redistest: %v", err)
	}
	return c
}

// URL returns the address for oona.Connect.
func (c *Cluster) URL() string { return "redis+cluster://" + strings.Join(c.addrs(), ",") }

func (c *Cluster) addrs() []string {
	var all []string
	for _, n := range c.Nodes {
		all = append(all, n.Addr())
	}
	return all
}

// Client returns a new client of the cluster, closed with the test.
func (c *Cluster) Client() *redis.ClusterClient {
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.addrs()})
	c.t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// Master returns the node that serves a key now.
func (c *Cluster) Master(ctx context.Context, key string) (*Server, error) {
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.addrs()})
	defer func() { _ = rdb.Close() }()
	node, err := rdb.MasterForKey(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("redistest: master of %s: %w", key, err)
	}
	for _, s := range c.Nodes {
		if s.Addr() == node.Options().Addr {
			return s, nil
		}
	}
	return nil, fmt.Errorf("redistest: master of %s is %s, which is no node of ours", key, node.Options().Addr)
}

// await polls until every node knows that the cluster works, for at most 30
// seconds.
func (c *Cluster) await() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		err := c.works(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(errors.New("the cluster does not work"), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (c *Cluster) works(ctx context.Context) error {
	for _, n := range c.Nodes {
		rdb := redis.NewClient(&redis.Options{Addr: n.Addr(), MaxRetries: -1})
		info, err := rdb.ClusterInfo(ctx).Result()
		_ = rdb.Close()
		if err != nil {
			return err
		}
		if !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_known_nodes:"+strconv.Itoa(len(c.Nodes))) {
			return fmt.Errorf("%s says %s", filepath.Base(n.Dir()), info)
		}
	}
	return nil
}
