package main

import (
	"cmp"
	"context"
	"fmt"
	"os"

	"github.com/esper-lite/esper/leyline"
	"github.com/esper-lite/esper/oona"
)

// connect returns the bus, found and signed for with the variables of the service.
// Two processes must never have the same Source: a real trainer puts its host and
// a boot id there.
func connect(ctx context.Context) (*oona.Client, error) {
	keys, err := leyline.OpenKeyFiles(leyline.KeyFilesConfig{
		Signing:     leyline.NewSecret(os.Getenv("ESPER_LEYLINE_SECRET")),
		SigningFile: os.Getenv("ESPER_LEYLINE_SECRET_FILE"),
	})
	if err != nil {
		return nil, fmt.Errorf("ESPER_LEYLINE_SECRET, or ESPER_LEYLINE_SECRET_FILE: %w", err)
	}
	codec, err := leyline.NewCodec(leyline.CodecConfig{Keys: keys.Keyring(), Source: "trainer/example-1"})
	if err != nil {
		return nil, err
	}
	url := cmp.Or(os.Getenv("REDIS_URL"), "redis://localhost:6379/0")
	return oona.Connect(ctx, oona.Config{URL: url, Codec: codec})
}
