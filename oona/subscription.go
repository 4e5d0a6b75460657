package oona

import (
	"cmp"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

// Others says what a subscription does with authentic messages of a type that
// it did not ask for.
type Others uint8

const (
	// DeadLetterOthers keeps them: on a stream of one purpose they are
	// somebody's mistake.
	DeadLetterOthers Others = iota
	// AcknowledgeOthers passes over them: on a shared stream, such as the
	// emergency stream, they are for somebody else.
	AcknowledgeOthers
)

// Subscription says what [Client.Consume] reads, and how. The zero value of
// each field but the first two has the default that stands beside it.
type Subscription struct {
	// Stream and Group say which entries are consumed, and with whom they are
	// shared. Required. The group is made at the start of the stream, so that
	// what was published before the first start is served.
	Stream string
	Group  string
	// Types are the types to handle. Empty means every type of the schema.
	Types []pb.BusMessageType
	// Others is what becomes of the rest. Default [DeadLetterOthers].
	Others Others
	// Batch is the most entries that are read, and committed, at once. A
	// message that is alone is never held back for a batch. Fewer are read
	// where the handler takes so long that the workers would not come to them
	// within about two seconds: siblings shall have them. Default
	// [DefaultBatch].
	Batch int
	// Workers is how many batches are handled at once, those included that were
	// left behind because their handler ignores its deadline. Default GOMAXPROCS.
	Workers int
	// MaxHeld bounds the entries held in memory: being handled, about to be, or
	// waiting for a retry. At the bound a failed message is left to be
	// reclaimed instead of being held for its retry. Three batches may be read
	// ahead, and a fourth taken over, whatever it is. Default 16 × Batch.
	MaxHeld int
	// MaxAttempts is how often a handler may fail before the message is
	// dead-lettered. Default [DefaultMaxAttempts].
	MaxAttempts int
	// RetryBase and RetryMax bound the backoff between attempts: exponential,
	// with jitter of ±25 %. Default 1s and 30s.
	RetryBase, RetryMax time.Duration
	// HandlerTimeout is the deadline of one call of the handler, after which
	// its results no longer count and the attempt has failed. Default
	// [DefaultHandlerTimeout].
	HandlerTimeout time.Duration
	// ReclaimIdle is how long another consumer's entry must have lain idle
	// before it is taken over. Default [DefaultReclaimIdle]; at least 1s, and
	// below 60s where Python members share the group.
	ReclaimIdle time.Duration
	// TTL is the age at which a message is dead-lettered as expired when it is
	// read. Zero means never.
	TTL time.Duration
	// DrainTimeout is how long a stopping consumer waits for handlers that
	// run. What they do not finish is handed back. Default 5s.
	DrainTimeout time.Duration
	// Ready, where not nil, is called once, when the group exists and reading
	// begins.
	Ready func()
	// ClaimFirst claims the nonce before the handler is called, for handlers
	// with effects beyond their answers. Otherwise the nonce is bound when
	// the answers are committed, which costs no extra round trip: the handler
	// may see a copy that came in before that, and what it answers is dropped.
	ClaimFirst bool
}

func (s Subscription) withDefaults() (Subscription, error) {
	if s.Stream == "" || s.Group == "" {
		return s, errors.New("oona: a subscription needs a stream and a group")
	}
	s.Types = slices.Clone(s.Types)
	s.Batch = cmp.Or(s.Batch, DefaultBatch)
	s.Workers = cmp.Or(s.Workers, runtime.GOMAXPROCS(0))
	s.MaxHeld = cmp.Or(s.MaxHeld, 16*s.Batch)
	s.MaxAttempts = cmp.Or(s.MaxAttempts, DefaultMaxAttempts)
	s.RetryBase = cmp.Or(s.RetryBase, time.Second)
	s.RetryMax = cmp.Or(s.RetryMax, 30*time.Second)
	s.HandlerTimeout = cmp.Or(s.HandlerTimeout, DefaultHandlerTimeout)
	s.ReclaimIdle = cmp.Or(s.ReclaimIdle, DefaultReclaimIdle)
	s.DrainTimeout = cmp.Or(s.DrainTimeout, 5*time.Second)
	for _, f := range []struct {
		name  string
		value int64
		least int64
	}{
		{"Batch", int64(s.Batch), 1},
		{"Workers", int64(s.Workers), 1},
		{"MaxHeld", int64(s.MaxHeld), int64(s.Batch)},
		{"MaxAttempts", int64(s.MaxAttempts), 1},
		{"RetryBase", int64(s.RetryBase), 1},
		{"RetryMax", int64(s.RetryMax), int64(s.RetryBase)},
		{"HandlerTimeout", int64(s.HandlerTimeout), 1},
		{"ReclaimIdle", int64(s.ReclaimIdle), int64(time.Second)},
		{"TTL", int64(s.TTL), 0},
		{"DrainTimeout", int64(s.DrainTimeout), 1},
	} {
		if f.value < f.least {
			return s, fmt.Errorf("oona: Subscription.%s of %s is too small", f.name, s.Stream)
		}
	}
	if s.Batch > maxBatch {
		return s, fmt.Errorf("oona: Subscription.Batch of %s is over %d", s.Stream, maxBatch)
	}
	return s, nil
}

// maxBatch keeps the arguments of one script call, and the lists that it
// unpacks, well below what Lua and Redis allow.
const maxBatch = 1000

func (s Subscription) wants(t pb.BusMessageType) bool {
	return len(s.Types) == 0 || slices.Contains(s.Types, t)
}
