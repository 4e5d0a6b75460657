package leyline

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"time"
)

// LogLimit configures a [LogLimiter].
type LogLimit struct {
	// Records is how many records of one kind are let through per interval.
	// Zero means 5.
	Records int
	// Interval starts with the first record of its kind. Zero means 1s.
	Interval time.Duration
	// Kind says which records are of one kind, beside their level. It must be
	// safe for concurrent use and sees the record's own attributes, not those
	// of the logger. Nil means the message.
	Kind func(slog.Record) string
	// MaxKinds is how many kinds are told apart at a time; further ones share
	// one limit until an interval ends. Zero means 1024.
	MaxKinds int
}

// LogLimiter is a [slog.Handler] that a flood cannot fill: of the records of one
// kind it lets the first few of every interval through, and then writes one line
// that says how many were suppressed. That line comes when the interval ends,
// with the level, logger attributes and groups of the last suppressed record, the
// message "log records suppressed" and the attributes message, count and interval.
//
// What is written is bounded; what is counted belongs in counters
// ([Refusals]), which lose nothing. Memory is bounded by LogLimit.MaxKinds.
//
// It is safe for concurrent use. It starts no goroutine, only a timer while
// something is suppressed; call Flush before the process ends.
type LogLimiter struct {
	next   slog.Handler
	floods *floods
}

// floods is shared by a limiter and everything made from it by With.
type floods struct {
	limit LogLimit

	mu     sync.Mutex
	kinds  map[logKind]*flood
	pruned time.Time // when kinds was last searched for room
}

type logKind struct {
	level slog.Level
	text  string
}

// flood is what happened to one kind of record in the current interval.
type flood struct {
	ends       time.Time
	passed     int
	suppressed uint64
	timer      *time.Timer  // set while suppressed > 0
	next       slog.Handler // of the last suppressed record
	message    string       // of the last suppressed record
}

// NewLogLimiter returns a handler that passes on to next what the limit allows.
// Negative settings count as zero.
func NewLogLimiter(next slog.Handler, limit LogLimit) *LogLimiter {
	limit.Records = cmp.Or(max(0, limit.Records), 5)
	limit.Interval = cmp.Or(max(0, limit.Interval), time.Second)
	limit.MaxKinds = cmp.Or(max(0, limit.MaxKinds), 1024)
	if limit.Kind == nil {
		limit.Kind = func(r slog.Record) string { return r.Message }
	}
	return &LogLimiter{next, &floods{limit: limit, kinds: make(map[logKind]*flood)}}
}

// Enabled implements [slog.Handler].
func (l *LogLimiter) Enabled(ctx context.Context, level slog.Level) bool {
	return l.next.Enabled(ctx, level)
}

// WithAttrs implements [slog.Handler]. The limits stay shared.
func (l *LogLimiter) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &LogLimiter{l.next.WithAttrs(attrs), l.floods}
}

// WithGroup implements [slog.Handler]. The limits stay shared.
func (l *LogLimiter) WithGroup(name string) slog.Handler {
	return &LogLimiter{l.next.WithGroup(name), l.floods}
}

// Handle implements [slog.Handler]. A suppressed record is no error.
func (l *LogLimiter) Handle(ctx context.Context, r slog.Record) error {
	if !l.floods.admit(l.next, r) {
		return nil
	}
	return l.next.Handle(ctx, r)
}

// Flush writes the lines about what was suppressed so far, without waiting for
// the intervals to end.
func (l *LogLimiter) Flush() {
	l.floods.mu.Lock()
	kinds := make([]logKind, 0, len(l.floods.kinds))
	for kind := range l.floods.kinds {
		kinds = append(kinds, kind)
	}
	l.floods.mu.Unlock()
	for _, kind := range kinds {
		l.floods.end(kind)
	}
}

// admit reports whether r may pass, and counts it.
func (s *floods) admit(next slog.Handler, r slog.Record) bool {
	kind := logKind{r.Level, s.limit.Kind(r)}
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.kinds[kind]
	if f == nil {
		kind = s.roomLocked(kind, now)
		if f = s.kinds[kind]; f == nil {
			f = new(flood)
			s.kinds[kind] = f
		}
	}
	// While something is suppressed the timer ends the interval, so that no
	// count is lost.
	if f.suppressed == 0 && !now.Before(f.ends) {
		f.passed, f.ends = 0, now.Add(s.limit.Interval)
	}
	if f.passed < s.limit.Records {
		f.passed++
		return true
	}
	f.suppressed++
	f.next, f.message = next, r.Message
	if f.timer == nil {
		f.timer = time.AfterFunc(f.ends.Sub(now), func() { s.end(kind) })
	}
	return false
}

// roomLocked returns kind if one more kind can be told apart, and otherwise the
// one that all others share. Kinds whose interval is over make room.
func (s *floods) roomLocked(kind logKind, now time.Time) logKind {
	if len(s.kinds) < s.limit.MaxKinds {
		return kind
	}
	if now.Sub(s.pruned) >= s.limit.Interval {
		s.pruned = now
		for k, f := range s.kinds {
			if f.suppressed == 0 && !now.Before(f.ends) {
				delete(s.kinds, k)
			}
		}
	}
	if len(s.kinds) < s.limit.MaxKinds {
		return kind
	}
	return logKind{level: kind.level}
}

// end ends the interval of a kind and says what it suppressed.
func (s *floods) end(kind logKind) {
	s.mu.Lock()
	f := s.kinds[kind]
	if f == nil || f.suppressed == 0 {
		s.mu.Unlock()
		return
	}
	f.timer.Stop()
	delete(s.kinds, kind)
	s.mu.Unlock()
	line := slog.NewRecord(time.Now(), kind.level, "log records suppressed", 0)
	line.AddAttrs(
		slog.String("message", f.message),
		slog.Uint64("count", f.suppressed),
		slog.Duration("interval", s.limit.Interval),
	)
	// A handler that fails has nobody left to tell.
	_ = f.next.Handle(context.Background(), line)
}
