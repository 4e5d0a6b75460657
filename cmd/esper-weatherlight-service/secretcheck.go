package main

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/esper-lite/esper/leyline"
	"github.com/esper-lite/esper/oona"
)

const (
	// secretCheckTime is how long a process listens to find out whether it has
	// the secret of the others. What they sent lately is there at once.
	secretCheckTime = 2 * time.Second
	// secretCheckEvery is how often it looks whether there is a reason to.
	secretCheckEvery = 30 * time.Second
	// secretCheckBack is how far back what others sent counts, at least.
	secretCheckBack = time.Minute
)

// figureSecretMismatch is 1 while a process doubts its secret.
const figureSecretMismatch = "weatherlight.secret_mismatch"

// summarySecretMismatch is the summary of its health then.
const summarySecretMismatch = "secret_mismatch"

// secretCheck finds out whether this process has the secret of the fleet. One that
// has not takes its share of the requests and refuses it as forged, and nobody
// answers them.
//
// It doubts its secret while others have sent something lately and none of it
// verifies. One message that does clears it, since nobody can sign without the
// secret; so replicas that share a wrong one clear each other. The doubt itself proves nothing: on a bus where nobody else speaks,
// whoever can write to Redis can bring it about with garbage, and of two processes
// with different secrets each doubts its own. So it is said loudly, in the log, in
// status and healthcheck and as degraded health, but it makes no process unready,
// and keeps none from starting: a forger could stop the whole fleet otherwise.
type secretCheck struct {
	settings settings
	keys     *leyline.Keyring
	id       identity
	refusals *leyline.Refusals // of the service itself
	log      *slog.Logger

	// listen returns whether anything that others sent lately verifies, and how
	// much does not.
	listen   func(context.Context) (verified bool, refused uint64, err error)
	doubtful atomic.Bool
}

func newSecretCheck(s settings, keys *leyline.Keyring, id identity, refusals *leyline.Refusals, log *slog.Logger) *secretCheck {
	c := &secretCheck{settings: s, keys: keys, id: id, refusals: refusals, log: log}
	c.listen = c.listenOnBus
	return c
}

// run checks at the start, and from then on while there is a reason to: the
// service refused signatures since the last time, or there is a doubt. A healthy
// fleet costs nothing.
func (c *secretCheck) run(ctx context.Context) {
	c.check(ctx)
	tick := time.NewTicker(secretCheckEvery)
	defer tick.Stop()
	refused := c.refusals.Total(leyline.BadSignature)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := c.refusals.Total(leyline.BadSignature)
		if now != refused || c.doubtful.Load() {
			c.check(ctx)
		}
		refused = now
	}
}

// check listens once. While the bus is away nothing changes: whoever needs it says
// what is wrong with it.
func (c *secretCheck) check(ctx context.Context) {
	verified, refused, err := c.listen(ctx)
	if err != nil || ctx.Err() != nil {
		return
	}
	doubtful := !verified && refused > 0
	switch was := c.doubtful.Swap(doubtful); {
	case doubtful && !was:
		c.log.Error("nothing that others sent verifies: is this the secret of the fleet? requests that this process takes are refused, and nobody answers them",
			"messages", refused, "setting", secretVariable(c.settings))
	case was && !doubtful:
		c.log.Info("the secret is in doubt no longer", "verified", verified)
	}
}

// listenOnBus reads what was sent lately, for at most [secretCheckTime].
func (c *secretCheck) listenOnBus(ctx context.Context) (verified bool, refused uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, secretCheckTime)
	defer cancel()
	// A client of its own, so that these refusals are not counted twice.
	bus, err := connect(ctx, c.settings, c.keys, c.id, "check", slog.New(slog.DiscardHandler))
	if err != nil {
		return false, 0, err
	}
	defer func() { _ = bus.Close() }()
	streams := bus.Streams()
	back := max(secretCheckBack, overdue*c.settings.TelemetryInterval)
	from, err := bus.Since(ctx, bus.Now().Add(-back), streams.Telemetry, streams.KernelRequests)
	if err != nil {
		return false, 0, err
	}
	var heard atomic.Bool
	others := oona.HandlerFunc(func(_ context.Context, batch []*oona.Message) []oona.Result {
		for _, m := range batch {
			if !strings.HasSuffix(m.Envelope.Source(), "/"+c.id.instance()) { // our own proves nothing
				heard.Store(true)
				cancel()
			}
		}
		return make([]oona.Result, len(batch))
	})
	if err := bus.Follow(ctx, oona.Following{From: from}, others); err != nil {
		return false, 0, err
	}
	for _, r := range bus.Refusals().Snapshot() {
		if signedByUs(r.Reason) {
			heard.Store(true)
		}
	}
	return heard.Load(), bus.Refusals().Total(leyline.BadSignature), nil
}

// signedByUs reports whether a message that was refused for this reason had a
// signature that verifies: it is judged only after that.
func signedByUs(r leyline.Reason) bool {
	switch r {
	case leyline.Unsigned, leyline.BadSignature, leyline.TooLarge, leyline.NotAMessage:
		return false
	}
	return true
}

// AppendMetrics appends the doubt.
func (c *secretCheck) AppendMetrics(dst []leyline.Metric) []leyline.Metric {
	value := 0.0
	if c.doubtful.Load() {
		value = 1
	}
	return append(dst, leyline.Metric{Name: figureSecretMismatch, Value: value, Unit: leyline.UnitBool})
}

// degraded is why the process is degraded though its workers are well; see
// [weatherlight.ReporterConfig].
func (c *secretCheck) degraded() string {
	if c.doubtful.Load() {
		return summarySecretMismatch
	}
	return ""
}

// What status and healthcheck say of a process that doubts its secret.
const (
	secretMismatchText   = "nothing that others sent verifies with its secret: it refuses the requests that it takes as forged, and nobody answers them"
	secretMismatchRemedy = "Stop it at once if its ESPER_LEYLINE_SECRET is not the fleet's. Or all others sign with a key that a rotation dropped: accept that key again. On an idle bus forged messages look the same."
)
