package tamiyo

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
)

// Descriptions of the events in telemetry packets.
const (
	eventApplied = "policy_applied"
	eventNoted   = "policy_version_noted"
	eventRefused = "policy_refused"
	eventGap     = "policy_gap"
	eventBroken  = "policy_broken"
)

// refuse counts and reports an update that is not applied.
func (c *Consumer) refuse(ctx context.Context, u Update, err error) {
	reason, _ := errors.AsType[Reason](err)
	c.count.refuse(reason)
	c.report(ctx, eventRefused, pb.TelemetryLevel_TELEMETRY_LEVEL_WARNING, &u, err)
}

func (c *Consumer) gap(ctx context.Context, g oona.Gap) {
	c.count.gaps.Add(1)
	c.forward(eventGap, pb.TelemetryLevel_TELEMETRY_LEVEL_ERROR, map[string]string{
		"stream":  g.Stream,
		"after":   g.After.ID.String(),
		"entries": strconv.FormatInt(g.Entries, 10),
	})
}

// report logs what happened to an update and sends it as an event.
func (c *Consumer) report(ctx context.Context, what string, level pb.TelemetryLevel, u *Update, err error) {
	attributes := make(map[string]string)
	args := []any{}
	if u != nil {
		attributes["policy_id"], attributes["tamiyo_policy_version"] = u.PolicyID, u.Version
		attributes["checksum"] = u.Checksum
		args = append(args, "policy_id", u.PolicyID, "version", u.Version)
	}
	if err != nil {
		attributes["error"] = legible(err.Error())
		args = append(args, "error", err)
	}
	if reason, ok := errors.AsType[Reason](err); ok {
		attributes["reason"] = string(reason)
		args = append(args, "reason", string(reason))
	}
	c.cfg.Logger.Log(ctx, logLevel(level), what, args...)
	c.forward(what, level, attributes)
}

// maxText bounds the text of an error in an event, in bytes.
const maxText = 512

// legible makes the text of an embedder's error fit to travel.
func legible(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), maxText)], "\uFFFD")
}

func logLevel(level pb.TelemetryLevel) slog.Level {
	switch level {
	case pb.TelemetryLevel_TELEMETRY_LEVEL_WARNING:
		return slog.LevelWarn
	case pb.TelemetryLevel_TELEMETRY_LEVEL_ERROR, pb.TelemetryLevel_TELEMETRY_LEVEL_CRITICAL:
		return slog.LevelError
	}
	return slog.LevelInfo
}

func (c *Consumer) forward(what string, level pb.TelemetryLevel, attributes map[string]string) {
	c.cfg.Forward(&pb.TelemetryPacket{
		PacketId:        "tamiyo-" + uuid.NewString(),
		Timestamp:       timestamppb.Now(),
		SourceSubsystem: "tamiyo",
		Level:           level,
		Events: []*pb.TelemetryEvent{{
			EventId:     uuid.NewString(),
			Description: what,
			Level:       level,
			Attributes:  attributes,
		}},
	}, pb.MessagePriority_MESSAGE_PRIORITY_UNSPECIFIED)
}
