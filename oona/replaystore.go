package oona

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/esper-lite/esper/leyline"
)

//go:embed claim.lua
var claimSource string

var claimScript = redis.NewScript(claimSource)

// ReplayStore keeps nonces in Redis, shared by every process that uses the same
// scope, over restarts. It is for handlers that follow a stream and act: of all
// replicas, one claims. Consumers of a group need none, since their commit binds
// the nonce. It implements [leyline.ReplayStore] and is safe for concurrent use.
//
// Nonces live in buckets by issue time, which Redis expires when no message of
// theirs can be fresh any more; they take at most 120 bytes each.
type ReplayStore struct {
	client *Client
	scope  string
}

// ReplayStore returns the store of a scope, such as the name of what acts.
func (c *Client) ReplayStore(scope string) *ReplayStore { return &ReplayStore{c, scope} }

// Claim binds the nonce to its holder; see [leyline.ReplayStore]. One round trip.
func (s *ReplayStore) Claim(ctx context.Context, c leyline.Claim, until time.Time) (leyline.Verdict, error) {
	k := s.client.keys
	issued := c.IssuedAt.UnixMilli()
	own := k.bucket(issued)
	keys := make([]string, 0, 2*neighbours+1)
	keys = append(keys, k.claims(s.scope, own))
	for b := own - neighbours; b <= own+neighbours; b++ {
		if b != own {
			keys = append(keys, k.claims(s.scope, b))
		}
	}
	// Everything in a bucket expires together, so it lives for its last nonce.
	expire := until.Add(k.width + s.client.cfg.Guard.ClockSkew()).UnixMilli()
	verdict, err := claimScript.Run(ctx, s.client.rdb, keys, shorten(c.Nonce), c.Holder, expire).Int()
	switch {
	case err != nil:
		return 0, fmt.Errorf("oona: claim: %w: %w", leyline.ErrStoreUnavailable, err)
	case verdict == 1:
		return leyline.Fresh, nil
	case verdict == 2:
		return leyline.Resumed, nil
	}
	return 0, leyline.Replayed
}
