package weatherlight

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// LogEvents writes events to log until the channel is closed. A supervisor does
// it by itself for [Config].Logger; what comes from [Supervisor.Subscribe] is for a
// goroutine of its own:
//
//	events, unsubscribe := supervisor.Subscribe(1024)
//	var logged sync.WaitGroup
//	logged.Go(func() { weatherlight.LogEvents(events, slog.Default()) })
//	err := supervisor.Run(ctx)
//	unsubscribe()
//	logged.Wait()
//
// Failures are warnings, with the stack of a panic; workers that are parked or
// given up are errors, the latter with the stacks of where they hang. That a supervisor has booted or shuts down, and that a
// worker is ready again which had failed, is information; the rest is at debug
// level. A nil log discards. Events are written after they have happened: what
// workers print themselves can come before.
func LogEvents(events <-chan Event, log *slog.Logger) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	down := make(map[string]struct{}) // failed, and to be restarted
	for e := range events {
		level, message := e.level(), e.message()
		switch e.Kind {
		case EventFailed:
			down[e.Worker] = struct{}{}
		case EventReady:
			if _, failed := down[e.Worker]; failed {
				level, message = slog.LevelInfo, "worker ready again"
			}
			delete(down, e.Worker)
		case EventStopped, EventEnded, EventParked, EventAbandoned:
			delete(down, e.Worker)
		}
		if log.Enabled(context.Background(), level) {
			log.LogAttrs(context.Background(), level, message, e.attrs()...)
		}
	}
}

// logEvents writes the events of s to its Logger, if it has one, until the
// function that it returns is called. That waits for the last of them, though
// not for ever: a log that blocks is no reason not to stop.
func (s *Supervisor) logEvents() (end func()) {
	if s.cfg.Logger == nil {
		return func() {}
	}
	events, unsubscribe := s.Subscribe(1024)
	written := make(chan struct{})
	go func() {
		defer close(written)
		LogEvents(events, s.cfg.Logger)
	}()
	return func() {
		unsubscribe()
		select {
		case <-written:
		case <-time.After(s.cfg.ShutdownTimeout):
		}
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
	if e.Kind == EventAbandoned {
		// Here, and not where it happens: whoever publishes holds locks.
		if stack := stacksOf([]string{e.Worker})[e.Worker]; stack != "" {
			attrs = append(attrs, slog.String("stack", stack))
		}
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
