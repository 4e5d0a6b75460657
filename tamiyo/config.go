package tamiyo

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
)

// Defaults of [Config].
const (
	DefaultDir      = "./var/tamiyo/policies"
	DefaultMaxBytes = leyline.DefaultMaxBytes
)

// Bus is what a [Consumer] reads; *oona.Client satisfies it.
type Bus interface {
	Streams() oona.Streams
	Follow(ctx context.Context, f oona.Following, h oona.Handler) error
}

// Config configures a [Consumer].
type Config struct {
	// Bus is where updates come from. Required by Run only.
	Bus Bus
	// Dir is where the policies are kept; it is made if it is missing. Replicas
	// on one host may share it. Zero means [DefaultDir].
	Dir string
	// Policy is what runs. Nil means [Opaque].
	Policy Policy
	// ArchitectureVersion is what an update's version must equal, where it has
	// one. Empty accepts every version.
	ArchitectureVersion string
	// SkipVerify turns the checks of version and freshness off
	// (TAMIYO_VERIFY_UPDATES=false). The order of updates is kept regardless.
	SkipVerify bool
	// MaxAge is the age at arrival past which an update is stale. Zero means
	// any age.
	MaxAge time.Duration
	// ClockSkew is how far ahead of its arrival an update may be issued. Zero
	// means [leyline.DefaultClockSkew].
	ClockSkew time.Duration
	// MaxBytes is the size of the largest payload. Zero means
	// [DefaultMaxBytes].
	MaxBytes int
	// Forward, where not nil, is handed a telemetry packet for every refusal,
	// gap, swap and broken file. It must not block.
	Forward func(packet *pb.TelemetryPacket, priority pb.MessagePriority)
	// Logger hears what an operator must know. Nil discards.
	Logger *slog.Logger
}

func (c Config) withDefaults() (Config, error) {
	if min(c.MaxAge, c.ClockSkew) < 0 || c.MaxBytes < 0 {
		return c, errors.New("tamiyo: Config: a limit is negative")
	}
	c.Dir = cmp.Or(c.Dir, DefaultDir)
	c.ClockSkew = cmp.Or(c.ClockSkew, leyline.DefaultClockSkew)
	c.MaxBytes = cmp.Or(c.MaxBytes, DefaultMaxBytes)
	if c.Policy == nil {
		c.Policy = Opaque{}
	}
	if c.Forward == nil {
		c.Forward = func(*pb.TelemetryPacket, pb.MessagePriority) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}
