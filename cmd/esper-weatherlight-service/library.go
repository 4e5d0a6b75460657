package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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
	if err := (urza.Config{DatabaseURL: s.DatabaseURL}).Validate(); err != nil {
		return cfg, usageErrorf("URZA_DATABASE_URL: %w", err)
	}
	if err := cfg.Validate(); err != nil {
		return cfg, usageErrorf("URZA_ARTIFACT_DIR: %w", err)
	}
	return cfg, nil
}

// openLibrary opens the library; the error names the setting that it is about.
func openLibrary(ctx context.Context, cfg urza.Config) (*urza.Library, error) {
	library, err := urza.Open(ctx, cfg)
	switch {
	case err == nil || ctx.Err() != nil:
		return library, err
	case errors.Is(err, urza.ErrArtifactDir):
		return nil, fmt.Errorf("URZA_ARTIFACT_DIR=%q: %w", cfg.ArtifactDir, err)
	}
	return nil, fmt.Errorf("URZA_DATABASE_URL=%q: %w", cfg.DatabaseURL, err)
}

// addArtifact stores a file under a blueprint, with nothing else to say of it.
func addArtifact(ctx context.Context, library *urza.Library, blueprint, file string) error {
	_, err := library.Add(ctx, urza.Addition{BlueprintID: blueprint, File: file})
	return err
}
