package oona

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/esper-lite/esper/leyline"
)

// Defaults of [Config].
const (
	DefaultMessageTTL  = 15 * time.Minute // OONA_MESSAGE_TTL_MS
	DefaultReclaimIdle = 30 * time.Second // below the 60 s of Python members of a group
	DefaultMaxAttempts = 5
	// DefaultHandlerTimeout bounds one call of a handler.
	DefaultHandlerTimeout = 30 * time.Second
	// DefaultMaxQueueDepth is how many entries may wait in a stream.
	DefaultMaxQueueDepth = 100_000
	// DefaultEmergencyPerMinute is how many messages a client may send to the
	// emergency stream.
	DefaultEmergencyPerMinute = 120
	// DefaultBatch is how many entries are read, and committed, at once.
	DefaultBatch = 256
)

// Config configures a [Client].
type Config struct {
	// URL is where Redis is, for [Connect]: redis://, rediss://, unix://, and
	// for Sentinel and Cluster redis+sentinel:// and redis+cluster:// (rediss+…
	// for TLS). Ignored by [New].
	URL string
	// Codec seals and opens. Required.
	Codec *leyline.Codec
	// Guard judges freshness; its replay store is not used, since nonces are
	// kept in Redis, for at most [MaxRetention]. Nil means a guard of the default
	// window and skew, in mode compat. The window may be changed from one start to
	// the next; what waits meanwhile is served.
	Guard *leyline.Guard
	// Streams names the streams; zero means the contract's names.
	Streams Streams
	// Consumer is this process's name in every consumer group. Two processes
	// must never share one, so it should hold the host and a boot id. Required
	// by Consume.
	Consumer string
	// MessageTTL is the age at which work expires and finished entries are
	// trimmed. Zero means [DefaultMessageTTL].
	MessageTTL time.Duration
	// MaxQueueDepth is how many entries may wait in a stream before publishing
	// to it is refused altogether; see [ErrBackPressure]. Zero means
	// [DefaultMaxQueueDepth].
	MaxQueueDepth int64
	// EmergencyPerMinute is how many messages this client sends to the
	// emergency stream, as a burst and per minute; beyond that they are refused
	// with [ErrRateLimited]. Zero means [DefaultEmergencyPerMinute], a negative
	// number no limit.
	EmergencyPerMinute int
	// Logger receives what an operator must know. Nil discards. Of what go-redis
	// writes to stderr see [Connect].
	Logger *slog.Logger
}

func (c Config) withDefaults() (Config, error) {
	if c.Codec == nil {
		return c, errors.New("oona: Config.Codec is missing")
	}
	if c.MessageTTL < 0 {
		return c, errors.New("oona: Config.MessageTTL is negative")
	}
	if c.MaxQueueDepth < 0 {
		return c, errors.New("oona: Config.MaxQueueDepth is negative")
	}
	c.MaxQueueDepth = cmp.Or(c.MaxQueueDepth, DefaultMaxQueueDepth)
	c.EmergencyPerMinute = cmp.Or(c.EmergencyPerMinute, DefaultEmergencyPerMinute)
	if c.Guard == nil {
		guard, err := leyline.NewGuard(leyline.GuardConfig{})
		if err != nil {
			return c, err
		}
		c.Guard = guard
	}
	if c.Guard.Retention() > MaxRetention {
		return c, fmt.Errorf("oona: the guard's window and clock skew are %v together, more than the %v for which nonces are kept", c.Guard.Retention(), MaxRetention)
	}
	c.MessageTTL = cmp.Or(c.MessageTTL, DefaultMessageTTL)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}
