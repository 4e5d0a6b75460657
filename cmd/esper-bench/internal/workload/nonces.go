package workload

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/esper-lite/esper/leyline"
)

// fillNonces puts nonces into the replay store of the group, as if that many
// requests had been answered within the last freshness window. Where and in what
// form a nonce stands is oona's: the bucket of its issue time, with the id of
// the entry that it was bound to, and a mark that it is done.
func (b *Bench) fillNonces(ctx context.Context) error {
	if b.Load.Nonces == 0 {
		return nil
	}
	const width = (leyline.DefaultWindow + leyline.DefaultClockSkew) / 2
	bucket := time.Now().UnixMilli() / width.Milliseconds()
	prefix := "oona:"
	if b.Server.Cluster() {
		prefix = "{oona}:"
	}
	key := prefix + "nonces:bench:" + strconv.FormatInt(bucket, 10)
	const part = 1000
	for from := 0; from < b.Load.Nonces; from += 100 * part {
		pipe := b.Server.Admin().Pipeline()
		for start := from; start < min(from+100*part, b.Load.Nonces); start += part {
			args := make([]any, 0, 2*part)
			for i := start; i < min(start+part, b.Load.Nonces); i++ {
				args = append(args, fmt.Sprintf("r:fffffff0-0000-7000-8000-%012d", i), "1700000000000-"+strconv.Itoa(i)+"!")
			}
			pipe.HSet(ctx, key, args...)
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return fmt.Errorf("workload: nonces: %w", err)
		}
	}
	return nil
}
