package oona

import (
	"strconv"
	"time"
)

// keyspace names the keys of ours (contract section 9) and says which bucket a
// nonce lives in.
type keyspace struct {
	prefix string
	// width is the span of issue times of one bucket. Nonces are dropped a
	// bucket at a time, so half the retention keeps at most half as much again
	// as is needed, while a batch has only a few buckets to look into.
	width time.Duration
}

// neighbours is how many buckets on either side of its own can hold the same
// nonce under another issue time: retention / width.
const neighbours = 2

func newKeyspace(cluster bool, retention time.Duration) keyspace {
	prefix := "oona:"
	if cluster {
		prefix = clusterTag + ":"
	}
	return keyspace{prefix: prefix, width: max(time.Millisecond, retention/neighbours)}
}

func (k keyspace) bucket(issuedAtMs int64) int64 { return issuedAtMs / k.width.Milliseconds() }

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
