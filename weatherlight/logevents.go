package weatherlight

import (
	"context"
	"errors"
	"log/slog"
)

// LogEvents writes events to log until the channel is closed. It is for a
// goroutine of its own:
//
//	events, unsubscribe := supervisor.Subscribe(1024)
//	logged.Go(func() { weatherlight.LogEvents(events, log) })
//	err := supervisor.Run(ctx)
//	unsubscribe()
//	logged.Wait()
//
// Failures are warnings, with the stack of a panic; workers that are parked or
// given up are errors; the rest is at debug level, but that a supervisor has
// booted or shuts down is information. A nil log discards.
func LogEvents(events <-chan Event, log *slog.Logger) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	for e := range events {
		level := e.level()
		if !log.Enabled(context.Background(), level) {
			continue
		}
		log.LogAttrs(context.Background(), level, e.message(), e.attrs()...)
	}
}

func (e Event) level() slog.Level {
	switch e.Kind {
	case EventFailed:
		return slog.LevelWarn
	case EventParked, EventAbandoned:
		return slog.LevelError
	case EventBooted, EventReturned:
		return slog.LevelInfo
	case EventShuttingDown, EventShutdown:
		if e.Err != nil {
			return slog.LevelError
		}
		return slog.LevelInfo
	}
	return slog.LevelDebug
}

func (e Event) message() string {
	switch e.Kind {
	case EventBooted, EventShuttingDown, EventShutdown:
		return "supervisor " + e.Kind.String()
	}
	return "worker " + e.Kind.String()
}

func (e Event) attrs() []slog.Attr {
	var attrs []slog.Attr
	if e.Worker != "" {
		attrs = append(attrs, slog.String("worker", e.Worker))
	}
	if e.Err != nil {
		attrs = append(attrs, slog.Any("error", e.Err))
		attrs = appendStacks(attrs, e.Err)
	}
	if e.Backoff > 0 {
		attrs = append(attrs, slog.Duration("backoff", e.Backoff))
	}
	if e.Missed > 0 {
		attrs = append(attrs, slog.Uint64("missed_events", e.Missed))
	}
	return attrs
}

// appendStacks appends what stacks err carries.
func appendStacks(attrs []slog.Attr, err error) []slog.Attr {
	if p, ok := errors.AsType[*PanicError](err); ok {
		attrs = append(attrs, slog.String("stack", p.Stack()))
	}
	if stop, ok := errors.AsType[*StopError](err); ok {
		for _, w := range stop.Workers[:min(maxNamed, len(stop.Workers))] {
			attrs = append(attrs, slog.String("stack of "+w.Worker, w.Stack))
		}
	}
	return attrs
}
