package main

import (
	"context"

	"github.com/redis/go-redis/v9"

	"github.com/esper-lite/esper/leyline"
	"github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
)

// connect returns the bus on a Redis. Two processes must never have the same
// Source or Consumer: a real program puts its host and a boot id there.
func connect(ctx context.Context, rdb *redis.Client) (*oona.Client, error) {
	keys, err := leyline.NewKeyring(leyline.NewSecret("a secret of this program"))
	if err != nil {
		return nil, err
	}
	codec, err := leyline.NewCodec(leyline.CodecConfig{Keys: keys, Source: "embed/example-1"})
	if err != nil {
		return nil, err
	}
	return oona.New(ctx, rdb, oona.Config{Codec: codec, Consumer: "embed-1"})
}

// publisher is how telemetry packets get onto the bus.
type publisher struct{ bus *oona.Client }

func (p publisher) Publish(ctx context.Context, packet *leylinepb.TelemetryPacket, _ leylinepb.MessagePriority) error {
	_, err := p.bus.Publish(ctx, packet)
	return err
}
