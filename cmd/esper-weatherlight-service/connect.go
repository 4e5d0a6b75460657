package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/esper-lite/esper/leyline"
	"github.com/esper-lite/esper/oona"
)

// busConfig is what the settings say of the bus.
func busConfig(s settings, keys *leyline.Keyring, id identity, service string, log *slog.Logger) (oona.Config, error) {
	codec, err := leyline.NewCodec(leyline.CodecConfig{Keys: keys, Source: id.source(service), MaxBytes: s.MaxMessageBytes})
	if err != nil {
		return oona.Config{}, err
	}
	skew := s.ClockSkew
	if skew == 0 {
		skew = -1 // the guard's zero means its default
	}
	guard, err := leyline.NewGuard(leyline.GuardConfig{
		Window:    time.Duration(s.FreshnessMS) * time.Millisecond,
		ClockSkew: skew,
		Mode:      s.Mode,
	})
	if err != nil {
		return oona.Config{}, err
	}
	return oona.Config{
		URL:                s.RedisURL,
		Codec:              codec,
		Guard:              guard,
		Streams:            s.streams(),
		Consumer:           id.consumer(),
		MessageTTL:         s.messageTTL(),
		MaxQueueDepth:      s.MaxQueueDepth,
		EmergencyPerMinute: s.EmergencyRate,
		Logger:             log,
	}, nil
}

// connect connects to the bus, for at most the boot timeout.
func connect(ctx context.Context, s settings, keys *leyline.Keyring, id identity, service string, log *slog.Logger) (*oona.Client, error) {
	cfg, err := busConfig(s, keys, id, service, log)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.BootTimeout, fmt.Errorf("WEATHERLIGHT_BOOT_TIMEOUT of %v is over", s.BootTimeout))
	defer cancel()
	waiting := time.AfterFunc(time.Second, func() {
		log.Info("waiting for redis", "redis_url", maskURL(s.RedisURL), "at_most", s.BootTimeout.String())
	})
	defer waiting.Stop()
	client, err := oona.Connect(ctx, cfg)
	switch {
	case err == nil:
		return client, nil
	case errors.Is(err, oona.ErrAddress):
		return nil, usageErrorf("REDIS_URL: %w", err)
	case errors.Is(err, oona.ErrStreams):
		return nil, usageErrorf("settings OONA_…_STREAM: %w", err)
	}
	return nil, busTrouble(s, err)
}
