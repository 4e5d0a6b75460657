package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/esper-lite/esper/leyline"
)

// keyReload is how often key files are read again.
const keyReload = 5 * time.Second

// openKeys reads the keys that the settings name.
func openKeys() (*leyline.KeyFiles, error) {
	accepted, err := leyline.ParseSecrets(os.Getenv("ESPER_LEYLINE_SECRET_ACCEPTED"))
	if err != nil {
		return nil, fmt.Errorf("ESPER_LEYLINE_SECRET_ACCEPTED: %w", err)
	}
	keys, err := leyline.OpenKeyFiles(leyline.KeyFilesConfig{
		Signing:      leyline.NewSecret(os.Getenv("ESPER_LEYLINE_SECRET")),
		SigningFile:  os.Getenv("ESPER_LEYLINE_SECRET_FILE"),
		Accepted:     accepted,
		AcceptedFile: os.Getenv("ESPER_LEYLINE_SECRET_ACCEPTED_FILE"),
	})
	if err != nil {
		return nil, fmt.Errorf("ESPER_LEYLINE_SECRET: %w", err)
	}
	return keys, nil
}

// keepKeys keeps the keys in step with their files, when hangup says so and every
// few seconds, until ctx ends. While files cannot be read, the keys in use stay.
func keepKeys(ctx context.Context, keys *leyline.KeyFiles, hangup <-chan os.Signal, log *slog.Logger) {
	ticker := time.NewTicker(keyReload)
	defer ticker.Stop()
	signature := keys.Keyring().Sign(nil) // tells one signing key from another
	failed := ""
	for {
		asked := false
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			asked = true
		case <-ticker.C:
		}
		changed, err := keys.Reload()
		switch {
		case err != nil && (asked || err.Error() != failed):
			log.Error("keys could not be read again; those in use stay", "error", err)
		case changed:
			before := signature
			signature = keys.Keyring().Sign(nil)
			log.Info("keys changed", "accepted", keys.Keyring().Len(), "signing_changed", signature != before)
		case asked:
			log.Info("keys read again, nothing changed")
		}
		failed = ""
		if err != nil {
			failed = err.Error()
		}
	}
}
