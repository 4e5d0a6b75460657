package contender

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"

	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/esper-lite/esper/leyline"
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
	request, answer int  // bytes
	text            bool // signatures are text, as the contract's
}

func newFloorPlus(_ context.Context, o Options) (Contender, error) {
	return &floorPlus{openFloor(o), o.Payload, min(o.Payload, smallPayload), false}, nil
}

// newFloorBytes is floor+ with entries as large as ours, whose fields the contract
// gives: what is left between it and ours is what ours does beside carrying them.
func newFloorBytes(ctx context.Context, o Options) (Contender, error) {
	ours, err := openOurs(ctx, o)
	if err != nil {
		return nil, err
	}
	defer ours.Close()
	request, _, err := ours.codec.Seal(nil, ours.request(0, timestamppb.Now()), leyline.Header{Audience: ours.client.Streams().KernelRequests})
	if err != nil {
		return nil, err
	}
	source := "bench/" + o.Consumer
	answer, _, err := ours.codec.Seal(nil, readyAnswer(string(appendRequestID(nil, 0)), blueprintID(0)),
		leyline.Header{Audience: ours.client.Streams().KernelReady, RequestSource: source})
	if err != nil {
		return nil, err
	}
	return &floorPlus{openFloor(o), len(request), len(answer), true}, nil
}

// sign returns the signature of payload; verifying costs the same. The hash is reused.
func (f *floorPlus) sign(h hash.Hash, payload []byte) []byte {
	h.Reset()
	h.Write(payload)
	mac := h.Sum(make([]byte, 0, sha256.Size))
	if f.text {
		return base64.StdEncoding.AppendEncode(make([]byte, 0, leyline.SignatureLen), mac)
	}
	return mac
}

var errForged = errors.New("contender: floor+: wrong signature")

func (f *floorPlus) Publish(ctx context.Context, first, n int) error {
	h := hmac.New(sha256.New, []byte(secret))
	answer := plainPayload(0, f.answer)
	for end := first + n; first < end; first += f.opts.Batch {
		pipe := f.pipeline()
		for i := first; i < min(first+f.opts.Batch, end); i++ {
			payload := plainPayload(i, f.request)
			pipe.XAdd(ctx, &redis.XAddArgs{Stream: requests, Values: []any{"payload", payload, "signature", f.sign(h, payload)}})
			f.sign(h, answer) // the asker verifies an answer
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
			if !hmac.Equal(f.sign(h, []byte(payload)), []byte(signature)) {
				return errForged
			}
			answer := padded(append(make([]byte, 0, f.answer), payload[:requestIDLen]...), f.answer)
			args = append(args, m.ID, answer, f.sign(h, answer))
		}
		return floorPlusScript.Run(ctx, f.rdb, []string{requests, answers}, args...).Err()
	})
}
