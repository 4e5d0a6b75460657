package oona

import (
	"strconv"
	"time"

	"github.com/esper-lite/esper/leyline"
)

// keyspace names the keys of ours (contract section 9) and says which bucket a
// nonce lives in.
type keyspace struct {
	prefix string
	// neighbours is how many buckets on either side of its own can hold the same
	// nonce under another issue time: retention / bucketWidth, rounded up.
	neighbours int64
}

// bucketWidth is the span of issue times of one bucket. Nonces are dropped a bucket
// at a time: half the usual retention keeps at most half as much again as is needed,
// while a batch has only a few buckets to look into. It is the same whatever the
// retention, so that processes with another freshness window, and this one after its
// window was changed, find the same nonces.
const bucketWidth = (leyline.DefaultWindow + leyline.DefaultClockSkew) / 2

// MaxRetention is the longest that nonces can be kept: the freshness window and the
// clock skew together, a little over ten minutes.
const MaxRetention = maxNeighbours * bucketWidth

const maxNeighbours = (maxBuckets - 1) / 2

func newKeyspace(cluster bool, retention time.Duration) keyspace {
	prefix := "oona:"
	if cluster {
		prefix = clusterTag + ":"
	}
	return keyspace{prefix: prefix, neighbours: int64((retention + bucketWidth - 1) / bucketWidth)}
}

func (k keyspace) bucket(issuedAtMs int64) int64 { return issuedAtMs / bucketWidth.Milliseconds() }

func (k keyspace) nonces(group string, bucket int64) string {
	return k.prefix + "nonces:" + group + ":" + strconv.FormatInt(bucket, 10)
}

// claims is where nonces live that are claimed outside a group, by a follower.
func (k keyspace) claims(scope string, bucket int64) string {
	return k.prefix + "claims:" + scope + ":" + strconv.FormatInt(bucket, 10)
}

// marks holds the low-water mark of each stream that a group reads.
func (k keyspace) marks(group string) string { return k.prefix + "marks:" + group }

// failures holds what is known of entries whose handler has failed.
func (k keyspace) failures(stream, group string) string {
	return k.prefix + "failures:" + group + ":" + stream
}

// once remembers that a message was published.
func (k keyspace) once(messageID string) string { return k.prefix + "once:" + messageID }
