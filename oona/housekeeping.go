package oona

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed trim.lua
var trimSource string

//go:embed consumers.lua
var consumersSource string

var (
	trimScript      = redis.NewScript(trimSource)
	consumersScript = redis.NewScript(consumersSource)
)

// Defaults of [Housekeeping].
const (
	DefaultHousekeepingInterval = 30 * time.Second
	// DefaultPoliciesKept is how many updates stay on the policy stream,
	// whatever their age: a follower that was down finds them.
	DefaultPoliciesKept = 64
	DefaultConsumerIdle = time.Hour
)

// Housekeeping configures [Client.Housekeep].
type Housekeeping struct {
	// Interval is the time between two rounds. Zero means 30s.
	Interval time.Duration
	// Group is the group whose empty, idle consumers are removed. Empty
	// removes none.
	Group string
	// ConsumerIdle is how long a consumer that holds nothing may be idle. Zero
	// means 1h.
	ConsumerIdle time.Duration
}

// Housekeep trims the streams of the fleet until ctx ends, and then returns nil.
// Any number of replicas may do so at once.
//
// Work is never deleted before it is done: of the streams that groups consume
// (normal, emergency, kernel requests), only entries go that every group of the
// stream has finished and that are older than Config.MessageTTL; a group that
// nobody reads any more is reported as what holds them back. The streams that are
// followed (kernel answers, telemetry) are trimmed by that age alone, the policy
// stream to its newest 64 entries, and dead letters not at all. Trimming is by
// whole nodes of the stream, so up to a hundred entries more may stay.
//
// Consumers of Group that hold nothing and were idle for ConsumerIdle are removed.
func (c *Client) Housekeep(ctx context.Context, h Housekeeping) error {
	if min(h.Interval, h.ConsumerIdle) < 0 {
		return errors.New("oona: Housekeeping with a negative time")
	}
	h.Interval = cmp.Or(h.Interval, DefaultHousekeepingInterval)
	h.ConsumerIdle = cmp.Or(h.ConsumerIdle, DefaultConsumerIdle)
	keeper := &housekeeper{client: c, group: h.Group, idle: h.ConsumerIdle, blocked: make(map[string]string)}
	ticker := time.NewTicker(h.Interval)
	defer ticker.Stop()
	for {
		if err := keeper.round(ctx); err != nil && ctx.Err() == nil {
			// The next round does what this one could not.
			c.stats.busErrors.Add(1)
			c.log.WarnContext(ctx, "housekeeping failed, will try again", "in", h.Interval, "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// housekeeper is one call of Housekeep.
type housekeeper struct {
	client  *Client
	group   string
	idle    time.Duration
	blocked map[string]string // stream → group that holds it back, as last reported
}

func (k *housekeeper) round(ctx context.Context) error {
	s := k.client.cfg.Streams
	age := k.client.cfg.MessageTTL.Milliseconds()
	var errs []error
	for _, t := range []struct {
		stream, mode string
		limit        int64
	}{
		{s.Normal, "work", age},
		{s.Emergency, "work", age},
		{s.KernelRequests, "work", age},
		{s.KernelReady, "age", age},
		{s.KernelErrors, "age", age},
		{s.Telemetry, "age", age},
		{s.Policy, "newest", DefaultPoliciesKept},
	} {
		if err := k.trim(ctx, t.stream, t.mode, t.limit); err != nil {
			errs = append(errs, err)
		}
	}
	if k.group != "" {
		errs = append(errs, k.removeConsumers(ctx, s.KernelRequests), k.removeConsumers(ctx, s.Emergency))
	}
	return errors.Join(errs...)
}

func (k *housekeeper) trim(ctx context.Context, stream, mode string, limit int64) error {
	reply, err := trimScript.Run(ctx, k.client.rdb, []string{stream}, mode, limit).Slice()
	if err != nil {
		return fmt.Errorf("oona: trim %s: %w", stream, err)
	}
	if len(reply) != 3 {
		return fmt.Errorf("oona: trim %s: %d values in the reply", stream, len(reply))
	}
	trimmed, _ := reply[0].(int64)
	group, _ := reply[1].(string)
	since, _ := reply[2].(string)
	if trimmed > 0 {
		k.client.log.DebugContext(ctx, "trimmed", "stream", stream, "entries", trimmed)
	}
	k.report(ctx, stream, group, since)
	return nil
}

// report says once which group holds back trimming, and once that it does not any
// more.
func (k *housekeeper) report(ctx context.Context, stream, group, since string) {
	if k.blocked[stream] == group {
		return
	}
	k.blocked[stream] = group
	if group == "" {
		k.client.log.InfoContext(ctx, "trimming is not held back any more", "stream", stream)
		return
	}
	ms, _ := strconv.ParseInt(since, 10, 64)
	k.client.log.WarnContext(ctx, "a group holds back trimming: it has not finished what is older than the time to live; destroy it if nobody reads it",
		"stream", stream, "group", group, "since", time.UnixMilli(ms).UTC())
}

func (k *housekeeper) removeConsumers(ctx context.Context, stream string) error {
	removed, err := consumersScript.Run(ctx, k.client.rdb, []string{stream}, k.group,
		k.idle.Milliseconds(), k.client.cfg.Consumer).StringSlice()
	if err != nil {
		return fmt.Errorf("oona: idle consumers of %s: %w", stream, err)
	}
	if len(removed) > 0 {
		k.client.log.InfoContext(ctx, "removed idle consumers", "stream", stream, "consumers", removed)
	}
	return nil
}
