package contender

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"hash"

	"github.com/redis/go-redis/v9"
)

//go:embed floorplus.lua
var floorPlusSource string

var floorPlusScript = redis.NewScript(floorPlusSource)

// secret signs what floor+ and ours publish.
const secret = "a secret of the bench, 32 bytes."

// floorPlus is the floor with what no implementation of the contract can leave
// out: request and answer are signed by one side and verified by the other, and
// an answer and its acknowledgement happen together or not at all.
type floorPlus struct {
	*floor
}

func newFloorPlus(_ context.Context, o Options) (Contender, error) {
	return &floorPlus{openFloor(o)}, nil
}

// sign returns the MAC of payload; verifying costs the same. The hash is reused.
func sign(h hash.Hash, payload []byte) []byte {
	h.Reset()
	h.Write(payload)
	return h.Sum(make([]byte, 0, sha256.Size))
}

var errForged = errors.New("contender: floor+: wrong signature")

func (f *floorPlus) Publish(ctx context.Context, first, n int) error {
	h := hmac.New(sha256.New, []byte(secret))
	for end := first + n; first < end; first += f.opts.Batch {
		pipe := f.pipeline()
		for i := first; i < min(first+f.opts.Batch, end); i++ {
			payload := plainPayload(i, f.opts.Payload)
			pipe.XAdd(ctx, &redis.XAddArgs{Stream: requests, Values: []any{"payload", payload, "signature", sign(h, payload)}})
			// The asker verifies the answer: the same work as verifying the
			// beginning of the request again.
			sign(h, payload[:min(len(payload), smallPayload)])
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return fmt.Errorf("contender: floor+: publish: %w", err)
		}
	}
	return nil
}

func (f *floorPlus) Serve(ctx context.Context, ready func()) error {
	h := hmac.New(sha256.New, []byte(secret))
	return f.serve(ctx, ready, func(ctx context.Context, batch []redis.XMessage) error {
		args := make([]any, 0, 1+3*len(batch))
		args = append(args, group)
		for _, m := range batch {
			payload, _ := m.Values["payload"].(string)
			signature, _ := m.Values["signature"].(string)
			if !hmac.Equal(sign(h, []byte(payload)), []byte(signature)) {
				return errForged
			}
			answer := []byte(payload[:min(len(payload), smallPayload)])
			args = append(args, m.ID, answer, sign(h, answer))
		}
		return floorPlusScript.Run(ctx, f.rdb, []string{requests, answers}, args...).Err()
	})
}
