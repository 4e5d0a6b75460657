package oona

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/esper-lite/esper/leyline"
)

//go:embed bindnonce.lua
var bindNonceSource string

var bindNonceScript = redis.NewScript(bindNonceSource)

// ReplayStore keeps nonces in Redis, shared by every process that uses the same
// scope, over restarts. It is for handlers that follow a stream and act: of all
// replicas, one claims. Consumers of a group need none, since their commit binds
// the nonce. It implements [leyline.ReplayStore] and is safe for concurrent use.
//
// A nonce is remembered for Config.MessageTTL longer than it is asked to be. A
// claim that comes later than that, from a reader that far behind, is refused as
// [leyline.Stale]: nobody can tell any more who had it. Nonces live in buckets by
// issue time, which Redis expires; they take at most 120 bytes each.
type ReplayStore struct {
	client *Client
	scope  string
}

// ReplayStore returns the store of a scope, such as the name of what acts.
func (c *Client) ReplayStore(scope string) *ReplayStore { return &ReplayStore{c, scope} }

// Claim binds the nonce to its holder; see [leyline.ReplayStore]. One round trip.
func (s *ReplayStore) Claim(ctx context.Context, c leyline.Claim, until time.Time) (leyline.Verdict, error) {
	k := s.client.keys
	own := k.bucket(c.IssuedAt.UnixMilli())
	keys := make([]string, 0, 2*k.neighbours+1)
	keys = append(keys, k.claims(s.scope, own))
	for b := own - k.neighbours; b <= own+k.neighbours; b++ {
		if b != own {
			keys = append(keys, k.claims(s.scope, b))
		}
	}
	// Everything in a bucket expires together, so it lives for its last nonce.
	hold := s.client.cfg.MessageTTL + bucketWidth + s.client.cfg.Guard.ClockSkew()
	verdict, err := bindNonceScript.Run(ctx, s.client.rdb, keys, new(digest).shorten("", c.Nonce), c.Holder, until.UnixMilli(), hold.Milliseconds()).Int()
	switch {
	case err != nil:
		return 0, fmt.Errorf("oona: claim: %w: %w", leyline.ErrStoreUnavailable, err)
	case verdict == 1:
		return leyline.Fresh, nil
	case verdict == 2:
		return leyline.Resumed, nil
	case verdict < 0:
		return 0, leyline.Stale
	}
	return 0, leyline.Replayed
}
