package oona

import (
	"context"
	_ "embed"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

//go:embed commitone.lua
var commitOneSource string

var commitOneScript = redis.NewScript(commitOneSource)

// buildOne lays out an outcome that is usual for commitone.lua, and returns what it
// has of keys and arguments.
func (a *commitArgs) buildOne(k keyspace, sub *Subscription, o *outcome) ([]string, []any) {
	a.reset()
	own, answer := k.bucket(o.d.issuedAtMs()), &o.answers[0]
	a.keys = append(a.keys, k.marks(sub.Group), sub.Stream, answer.stream)
	for b := own; b >= own-k.neighbours; b-- {
		a.keys = append(a.keys, k.nonces(sub.Group, b))
	}
	a.keys = append(a.keys, k.failures(sub.Stream, sub.Group))
	for b := own + 1; b <= own+k.neighbours; b++ {
		a.keys = append(a.keys, k.nonces(sub.Group, b))
	}
	a.args = append(a.args, sub.Group, &o.d.text, o.d.ID.Ms, &o.d.nonce, own, &answer.payload, &answer.signature, k.neighbours)
	return a.keys, a.args
}

// commitOne commits an outcome that is usual, and reports whether it did: if not, there
// is something about the entry that only commit can tell.
func (c *consumer) commitOne(ctx context.Context, a *commitArgs, o *outcome) (bool, error) {
	keys, args := a.buildOne(c.client.keys, &c.sub, o)
	reply, err := commitOneScript.Run(ctx, c.client.rdb, keys, args...).Slice()
	if errors.Is(err, redis.Nil) {
		return false, nil
	}
	if err == nil {
		err = c.noteTime(reply)
	}
	if err != nil {
		return false, fmt.Errorf("oona: commit on %s: %w", c.sub.Stream, err)
	}
	return true, nil
}
