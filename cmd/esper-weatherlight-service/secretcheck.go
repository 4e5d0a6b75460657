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

// secretCheckTime is how long a process listens to find out whether it has the
// secret of the others. What they sent lately is there at once.
const secretCheckTime = 2 * time.Second

// checkSecret says so when others have sent telemetry lately and none of it
// verifies. Then this process most likely has another secret than the fleet: it
// takes its share of the requests, and refuses it as forged. That is no reason to
// refuse to start, since anybody who can write to Redis could bring it about.
func checkSecret(ctx context.Context, s settings, keys *leyline.Keyring, id identity, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(ctx, secretCheckTime)
	defer cancel()
	// A client of its own, so that these refusals are not counted twice.
	bus, err := connect(ctx, s, keys, id, "check", slog.New(slog.DiscardHandler))
	if err != nil {
		return // whoever needs the bus says what is wrong with it
	}
	defer func() { _ = bus.Close() }()
	telemetry := bus.Streams().Telemetry
	from, err := bus.Since(ctx, bus.Now().Add(-3*s.TelemetryInterval), telemetry)
	if err != nil {
		return
	}
	var verified atomic.Bool
	heard := oona.HandlerFunc(func(_ context.Context, batch []*oona.Message) []oona.Result {
		for _, m := range batch {
			if !strings.HasSuffix(m.Envelope.Source(), "/"+id.instance()) { // our own proves nothing
				verified.Store(true)
				cancel()
			}
		}
		return make([]oona.Result, len(batch))
	})
	if err := bus.Follow(ctx, oona.Following{From: from}, heard); err != nil || verified.Load() {
		return
	}
	if n := bus.Refusals().Total(leyline.BadSignature); n > 0 {
		log.Error("nothing that others sent verifies: is this the secret of the fleet? requests that this process takes are refused, and nobody answers them",
			"stream", telemetry, "messages", n, "setting", secretVariable(s))
	}
}
