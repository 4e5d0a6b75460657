package oona

import (
	"log/slog"
	"strings"

	"github.com/esper-lite/esper/leyline"
)

// maxLoggedText bounds what a log line repeats of a message's own words.
const maxLoggedText = 128

// logged are the attributes by which a message is found again: where it stands,
// and, of an authentic message, what its producer knows it by. More follow.
func (m *Message) logged(more ...slog.Attr) []slog.Attr {
	attrs := make([]slog.Attr, 0, 6+len(more))
	attrs = append(attrs, slog.String("entry_id", m.ID.String()))
	add := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, clip(value)))
		}
	}
	if b, ok := m.Body.(interface{ GetRequestId() string }); ok {
		add("request_id", b.GetRequestId())
	}
	if b, ok := m.Body.(interface{ GetCommandId() string }); ok {
		add("command_id", b.GetCommandId())
	}
	if b, ok := m.Body.(interface{ GetBlueprintId() string }); ok {
		add("blueprint_id", b.GetBlueprintId())
	}
	add("source", m.Envelope.Source())
	add("traceparent", m.Envelope.TraceParent())
	return append(attrs, more...)
}

// refusalLevel is the level at which a refusal is logged.
func refusalLevel(reason leyline.Reason) slog.Level {
	if reason == leyline.NotAMessage {
		return slog.LevelInfo // what the Python side leaves behind when it makes a stream
	}
	return slog.LevelWarn
}

func clip(s string) string {
	if len(s) <= maxLoggedText {
		return s
	}
	return strings.ToValidUTF8(s[:maxLoggedText], "") + "…"
}
