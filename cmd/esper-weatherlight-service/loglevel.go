package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

// switchLevel lowers the log level to debug at SIGUSR1, and sets it back at the
// next, until ctx ends: an operator can look closer without a restart.
func switchLevel(ctx context.Context, level *slog.LevelVar, log *slog.Logger) {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR1)
	defer signal.Stop(asked)
	usual := level.Level()
	for {
		select {
		case <-ctx.Done():
			return
		case <-asked:
		}
		next := slog.LevelDebug
		if level.Level() == slog.LevelDebug {
			next = usual
		}
		// Said at the lower of the two, so that it is seen either way.
		level.Set(min(next, slog.LevelInfo))
		log.InfoContext(ctx, "log level changed", "level", next.String())
		level.Set(next)
	}
}
