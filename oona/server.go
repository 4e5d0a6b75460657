package oona

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

// ErrEvicting is returned for a Redis that deletes keys when its memory is full:
// it would delete messages.
var ErrEvicting = errors.New("oona: redis evicts keys; set maxmemory-policy noeviction")

// checkServer refuses a server that loses messages by design. What it may not
// ask, for want of rights, it does not hold against the server.
func (c *Client) checkServer(ctx context.Context) error {
	policy, err := c.configValue(ctx, "maxmemory-policy")
	if err != nil {
		if transient(err) {
			return err // it is asked again
		}
		c.log.DebugContext(ctx, "cannot read the configuration of redis", "error", err)
		return nil
	}
	if policy != "" && policy != "noeviction" {
		return fmt.Errorf("%w (it is %s, at %s)", ErrEvicting, policy, c.conn.address)
	}
	appendOnly, err := c.configValue(ctx, "appendonly")
	if err == nil && appendOnly == "no" {
		c.log.WarnContext(ctx, "redis keeps no append-only file: a crash of redis loses messages", "address", c.conn.address)
	}
	return nil
}

func (c *Client) configValue(ctx context.Context, name string) (string, error) {
	values, err := c.rdb.ConfigGet(ctx, name).Result()
	if err != nil {
		return "", fmt.Errorf("oona: config get %s: %w", name, err)
	}
	return values[name], nil
}

// transient reports whether an error passes by itself: no reply came, or the
// server loads, fails over or is short of something.
func transient(err error) bool {
	reply, answered := errors.AsType[redis.Error](err)
	if !answered {
		return true
	}
	for _, prefix := range []string{"LOADING", "READONLY", "CLUSTERDOWN", "TRYAGAIN", "MASTERDOWN", "MOVED", "ASK", "BUSY ", "MISCONF", "NOREPLICAS", "OOM", "ERR max number of clients", "UNBLOCKED"} {
		if strings.HasPrefix(reply.Error(), prefix) {
			return true
		}
	}
	return false
}
