package oona

import (
	"context"
	_ "embed"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/esper-lite/esper/leyline"
)

//go:embed claim.lua
var claimSource string

var claimScript = redis.NewScript(noncesSource + claimSource)

// claim binds the nonces of what was admitted to its entries, for handlers that
// act: what comes back may be handled. A delivery whose claim is not known,
// because ctx ended, is left out. The slices' memory is reused.
func (c *consumer) claim(ctx context.Context, admitted []*delivery, decided []outcome) ([]*delivery, []outcome) {
	var args nonceArgs
	kept := admitted[:0]
	for len(admitted) > 0 {
		n, codes := 0, ""
		err := c.untilDone(ctx, "claim", func(ctx context.Context) (err error) {
			n, codes, err = c.claimPart(ctx, &args, admitted)
			return err
		})
		if err != nil {
			return nil, decided
		}
		for i, d := range admitted[:n] {
			if refusal, ok := d.claimedAs(codes[i]); ok {
				kept = append(kept, d)
			} else {
				decided = append(decided, refusal)
			}
		}
		admitted = admitted[n:]
	}
	return kept, decided
}

// claimPart claims as many as fit into one script and returns how many these
// were, with a code for each.
func (c *consumer) claimPart(ctx context.Context, a *nonceArgs, ds []*delivery) (n int, codes string, err error) {
	k := c.client.keys
	a.reset()
	for n < min(len(ds), maxBatch) {
		if d := ds[n]; d.nonce != "" {
			if !a.reach(k, d.issuedAtMs()) {
				break
			}
			a.number(&d.nonce)
		}
		n++
	}
	a.begin(k, c.sub.Group, c.sub.Stream)
	for _, d := range ds[:n] {
		index, bucket := a.place(k, d.nonce, d.issuedAtMs())
		a.args = append(a.args, &d.text, index, bucket, &d.holder)
	}
	codes, err = claimScript.Run(ctx, c.client.rdb, a.keys, a.args...).Text()
	if err == nil && len(codes) != n {
		err = fmt.Errorf("answered for %d of %d entries", len(codes), n)
	}
	if err != nil {
		return 0, "", fmt.Errorf("oona: claim on %s: %w", c.sub.Stream, err)
	}
	return n, codes, nil
}

// claimedAs says what a claim means: that the delivery may be handled, or how it
// is refused.
func (d *delivery) claimedAs(code byte) (refusal outcome, ok bool) {
	switch code {
	case codeReplayed:
		refusal = outcome{d: d, verb: acknowledge, reason: leyline.Replayed}
	case codeBelowMark:
		refusal = outcome{d: d, verb: acknowledge, reason: leyline.Stale}
	case codeDone:
		refusal = outcome{d: d, verb: acknowledge}
	default:
		return outcome{}, true
	}
	d.nonce = "" // it is not this entry's
	return refusal, false
}
