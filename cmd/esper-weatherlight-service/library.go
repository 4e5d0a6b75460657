package main

import (
	"cmp"
	"context"
	"log/slog"
	"time"

	"github.com/esper-lite/esper/urza"
)

// libraryConfig is what the settings say of the library.
func libraryConfig(s settings, log *slog.Logger) (urza.Config, error) {
	cfg := urza.Config{
		DatabaseURL: s.DatabaseURL,
		ArtifactDir: s.ArtifactDir,
		CacheTTL:    time.Duration(s.CacheTTLSeconds) * time.Second,
		// To the library 0 is its default, and less is none.
		MaxArtifactBytes: cmp.Or(s.MaxArtifact, -1),
		MinFreeBytes:     cmp.Or(s.MinFree, -1),
		Logger:           log,
	}
	if err := cfg.Validate(); err != nil {
		return cfg, usageErrorf("URZA_DATABASE_URL, URZA_ARTIFACT_DIR: %w", err)
	}
	return cfg, nil
}

// addArtifact stores a file under a blueprint, with nothing else to say of it.
func addArtifact(ctx context.Context, library *urza.Library, blueprint, file string) error {
	_, err := library.Add(ctx, urza.Addition{BlueprintID: blueprint, File: file})
	return err
}
