package leyline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"time"
)

// Defaults of the guard (contract sections 2 and 6).
const (
	DefaultWindow    = 60 * time.Second
	DefaultClockSkew = 5 * time.Second
)

// Verdict is what a [ReplayStore] says of a nonce.
type Verdict uint8

const (
	// Fresh: nobody had this nonce; it now belongs to the claim's holder.
	Fresh Verdict = iota + 1
	// Resumed: this very holder had it already. A retry or a redelivery of the
	// same entry, never a replay.
	Resumed
)

// String returns the verdict in lower case.
func (v Verdict) String() string {
	switch v {
	case Fresh:
		return "fresh"
	case Resumed:
		return "resumed"
	}
	return "none"
}

// Errors of a [ReplayStore] that say nothing about the message: it must wait,
// and is neither passed nor dropped.
var (
	// ErrStoreFull: the store cannot hold one more live nonce. Forgetting one
	// to make room would make an old message replayable.
	ErrStoreFull = errors.New("leyline: replay store is full")
	// ErrStoreUnavailable: the store could not be asked.
	ErrStoreUnavailable = errors.New("leyline: replay store is unavailable")
)

// Claim asks for the right to act on a message.
type Claim struct {
	// Nonce is unique to the message. Required.
	Nonce string
	// Holder is who asks: on a stream the entry id. The same holder may claim
	// the same nonce again and is [Resumed]. An empty holder never resumes.
	Holder string
	// IssuedAt is when the message was issued.
	IssuedAt time.Time
	// Arrival is when it reached us. For a stream entry, the smaller of the
	// entry id's time and the server's clock, so that a backlog or a retry does
	// not turn good messages stale, while a recorded message that is added
	// again is. Zero means now.
	Arrival time.Time
}

// ReplayStore remembers nonces. An implementation is safe for concurrent use,
// and of any number of concurrent claims of one nonce by different holders
// exactly one is Fresh. A nonce is kept at least until no message that carries
// it can be fresh; a store that cannot keep it returns [ErrStoreFull].
type ReplayStore interface {
	// Claim binds the nonce to its holder until the given time. The error is
	// or wraps [Replayed] when it belongs to another holder, [Stale] when the
	// claim comes so late that the store can no longer tell, [ErrStoreFull] or
	// [ErrStoreUnavailable]. A claim that failed has bound nothing.
	Claim(ctx context.Context, c Claim, until time.Time) (Verdict, error)
}

// GuardConfig configures a [Guard].
type GuardConfig struct {
	// Window is the largest age of a fresh message; exactly the window is
	// still fresh. Zero means [DefaultWindow].
	Window time.Duration
	// ClockSkew is how far ahead of its arrival a message may be issued. Zero
	// means [DefaultClockSkew]; to allow none, set it negative.
	ClockSkew time.Duration
	// Mode is what is demanded of a message; see [Guard.Admissible].
	Mode Mode
	// Store remembers nonces. Nil is for a guard that only judges freshness:
	// its Admit returns [ErrStoreUnavailable].
	Store ReplayStore
}

// Guard judges whether a message is current and not a replay. It is safe for
// concurrent use as far as its store is, and usable without any bus.
type Guard struct {
	cfg GuardConfig
}

// NewGuard returns a guard, or an error that says what is wrong with cfg.
func NewGuard(cfg GuardConfig) (*Guard, error) {
	if cfg.Window < 0 {
		return nil, errors.New("leyline: GuardConfig.Window is negative")
	}
	cfg.Window = cmp.Or(cfg.Window, DefaultWindow)
	cfg.ClockSkew = max(0, cmp.Or(cfg.ClockSkew, DefaultClockSkew))
	if cfg.Window > math.MaxInt64-cfg.ClockSkew {
		return nil, errors.New("leyline: GuardConfig.Window and ClockSkew are too long together")
	}
	return &Guard{cfg}, nil
}

// Window returns the freshness window.
func (g *Guard) Window() time.Duration { return g.cfg.Window }

// ClockSkew returns the allowed clock skew.
func (g *Guard) ClockSkew() time.Duration { return g.cfg.ClockSkew }

// Retention is how long after its issue a nonce can still arrive fresh: window
// plus clock skew.
func (g *Guard) Retention() time.Duration { return g.cfg.Window + g.cfg.ClockSkew }

// CheckFresh compares two Unix times in ms and returns nil, [Stale] or [Future].
// An issue time of zero or less is stale. No pair of times overflows into fresh.
func (g *Guard) CheckFresh(issuedAtMs, arrivalMs int64) error {
	arrivalMs = max(0, arrivalMs) // both are positive: their difference fits
	switch {
	case issuedAtMs <= 0, arrivalMs-issuedAtMs > g.cfg.Window.Milliseconds():
		return Stale
	case issuedAtMs-arrivalMs > g.cfg.ClockSkew.Milliseconds():
		return Future
	}
	return nil
}

// Admissible judges an authentic message by everything but its nonce: the
// audience it was sealed for and its freshness at arrival (Unix ms). audience is
// the name of the stream it was read from, without hash tag. In mode
// [Compat], what a message does not say is not held against it, except a time
// that its type demands; in mode [Strict] a message without issued_at_ms is
// [Stale], without audience [WrongAudience], without message_id [Malformed].
func (g *Guard) Admissible(env Envelope, id Identity, audience string, arrivalMs int64) error {
	strict := g.cfg.Mode == Strict
	if env.audience.len() > 0 || strict {
		if string(env.text(env.audience)) != audience {
			return WrongAudience
		}
	}
	if strict && env.messageID.len() == 0 {
		return fmt.Errorf("%w: no %s", Malformed, AttrMessageID)
	}
	if id.Dated || id.IssuedAtMs != 0 {
		if err := g.CheckFresh(id.IssuedAtMs, arrivalMs); err != nil {
			return err
		}
	}
	if env.issuedAtMs != 0 || strict {
		return g.CheckFresh(env.issuedAtMs, arrivalMs)
	}
	return nil
}

// Admit judges freshness first and then claims the nonce. The verdict is
// [Fresh] or [Resumed] when the message may be handled. Otherwise the error is or
// wraps [Stale], [Future] or [Replayed] when it must not be, [Malformed] when the
// claim has no nonce, or [ErrStoreFull] or [ErrStoreUnavailable] when it must
// wait. A message that is refused leaves nothing in the store.
//
// It must only be asked about messages that are authentic: what forgeries claim
// would fill the store.
func (g *Guard) Admit(ctx context.Context, c Claim) (Verdict, error) {
	if c.Nonce == "" {
		return 0, fmt.Errorf("%w: claim without a nonce", Malformed)
	}
	if c.Arrival.IsZero() {
		c.Arrival = time.Now()
	}
	if err := g.CheckFresh(unixMs(c.IssuedAt.Unix(), c.IssuedAt.Nanosecond()), unixMs(c.Arrival.Unix(), c.Arrival.Nanosecond())); err != nil {
		return 0, err
	}
	if g.cfg.Store == nil {
		return 0, fmt.Errorf("%w: the guard has none", ErrStoreUnavailable)
	}
	return g.cfg.Store.Claim(ctx, c, c.IssuedAt.Add(g.Retention()))
}
