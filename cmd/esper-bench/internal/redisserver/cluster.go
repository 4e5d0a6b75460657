package redisserver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// clusterTag is the hash tag of everything that the contenders put into a
// cluster: all of it lives on one node.
const clusterTag = "{oona}"

// StartCluster starts a Redis Cluster of n nodes without replicas, which share
// the slots evenly. The server that it returns is the node that has the
// contenders' keys; the others belong to it: their CPU time is counted, and Stop
// ends them.
func StartCluster(ctx context.Context, command string, n int) (*Server, error) {
	var nodes []*Server
	for range n {
		s, err := Start(ctx, command, "--cluster-enabled", "yes", "--cluster-require-full-coverage", "no")
		if err != nil {
			return nil, errors.Join(err, stopAll(nodes))
		}
		s.cluster = true
		nodes = append(nodes, s)
	}
	owner, err := join(ctx, nodes)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("redisserver: cluster: %w", err), stopAll(nodes))
	}
	s := nodes[owner]
	s.others = slices.Delete(nodes, owner, owner+1)
	return s, nil
}

func stopAll(nodes []*Server) error {
	var errs []error
	for _, s := range nodes {
		errs = append(errs, s.Stop())
	}
	return errors.Join(errs...)
}

const slots = 16384

// join makes a cluster of the nodes and returns which has the contenders' keys.
func join(ctx context.Context, nodes []*Server) (owner int, err error) {
	slot, err := nodes[0].admin.ClusterKeySlot(ctx, clusterTag).Result()
	if err != nil {
		return 0, err
	}
	for i, s := range nodes {
		from, to := i*slots/len(nodes), (i+1)*slots/len(nodes)-1
		if from <= int(slot) && int(slot) <= to {
			owner = i
		}
		if err := s.admin.ClusterAddSlotsRange(ctx, from, to).Err(); err != nil {
			return 0, err
		}
		host, port, _ := strings.Cut(nodes[0].addr, ":")
		if err := s.admin.ClusterMeet(ctx, host, port).Err(); err != nil {
			return 0, err
		}
	}
	for _, s := range nodes {
		if err := s.awaitCluster(ctx, len(nodes)); err != nil {
			return 0, err
		}
	}
	return owner, nil
}

// awaitCluster waits, for at most 30 seconds, until the node knows all slots.
func (s *Server) awaitCluster(ctx context.Context, size int) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		info, err := s.admin.ClusterInfo(ctx).Result()
		if err != nil {
			return err
		}
		if strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_slots_assigned:"+strconv.Itoa(slots)) &&
			strings.Contains(info, "cluster_known_nodes:"+strconv.Itoa(size)+"\r") {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("node %s: %w: %s", s.addr, ctx.Err(), info)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Cluster reports whether the server is a node of a Redis Cluster.
func (s *Server) Cluster() bool { return s.cluster }

// Connect returns a client of a server at addr, or of the cluster that it belongs
// to. The caller closes it.
func Connect(addr string, cluster bool) redis.UniversalClient {
	if cluster {
		return redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{addr}, MaxRedirects: 3})
	}
	return redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1})
}
