package kasmina

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

// Report receives telemetry packets of source "kasmina", each with one or more
// events, in the order in which they happened. Priority is HIGH for a packet at
// WARNING or ERROR, CRITICAL for one at CRITICAL, otherwise NORMAL. The packet is
// the callee's.
//
// It is called without any lock held, one call at a time, on whatever goroutine
// something happened: it must not block for long. While it does, up to
// [MaxEvents] events wait, and further ones are dropped and counted.
type Report func(packet *pb.TelemetryPacket, priority pb.MessagePriority)

// MaxEvents bounds the events that wait for a [Report] that is slow.
const MaxEvents = 4096

// maxPacketEvents keeps a packet well below the size limit of a message.
const maxPacketEvents = 64

// maxAttribute bounds the text of one attribute, in bytes.
const maxAttribute = 512

// event makes an event; attributes come in pairs, those without a value are left
// out.
func event(description string, level pb.TelemetryLevel, attributes ...string) *pb.TelemetryEvent {
	e := &pb.TelemetryEvent{
		EventId:     uuid.NewString(),
		Description: description,
		Level:       level,
		Attributes:  make(map[string]string, len(attributes)/2),
	}
	for i := 0; i+1 < len(attributes); i += 2 {
		if attributes[i+1] != "" {
			e.Attributes[attributes[i]] = legible(attributes[i+1])
		}
	}
	return e
}

// legible makes a text fit to travel: bounded, and UTF-8, without which a whole
// packet could not be sealed.
func legible(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), maxAttribute)], "\uFFFD")
}

func stageEvent(s *seed, from pb.SeedLifecycleStage, reason string) *pb.TelemetryEvent {
	level := pb.TelemetryLevel_TELEMETRY_LEVEL_INFO
	if s.stage == culled {
		level = pb.TelemetryLevel_TELEMETRY_LEVEL_WARNING
	}
	return event("seed_stage", level, "seed_id", s.id, "blueprint_id", s.want.BlueprintID,
		"from", from.String(), "to", s.stage.String(), "reason", reason)
}

func gateEvent(s *seed, blueprintID string, gate pb.SeedLifecycleGate, verdict error) *pb.TelemetryEvent {
	return event("gate_failure", pb.TelemetryLevel_TELEMETRY_LEVEL_WARNING,
		"seed_id", s.id, "blueprint_id", blueprintID, "gate", gate.String(), "reason", verdict.Error())
}

func pauseEvent(s *seed) *pb.TelemetryEvent {
	if s.paused {
		return event("seed_paused", pb.TelemetryLevel_TELEMETRY_LEVEL_WARNING, "seed_id", s.id)
	}
	return event("seed_resumed", pb.TelemetryLevel_TELEMETRY_LEVEL_INFO, "seed_id", s.id)
}

// eventQueue keeps events in their order on the way to a Report. Events are added
// under the lock of whoever has them, and delivered without it.
type eventQueue struct {
	report Report

	mu      sync.Mutex
	waiting []*pb.TelemetryEvent
	telling bool // somebody is in deliver
	dropped atomic.Int64
}

func newEventQueue(report Report) *eventQueue { return &eventQueue{report: report} }

// add never blocks.
func (q *eventQueue) add(e *pb.TelemetryEvent) {
	if q.report == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) >= MaxEvents {
		q.dropped.Add(1)
		return
	}
	q.waiting = append(q.waiting, e)
}

// deliver reports what waits. When somebody is at it already, that one takes
// these along: the order stays, and a Report that leads to further events does
// not lock up.
func (q *eventQueue) deliver() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.telling {
		return
	}
	q.telling = true
	defer func() { q.telling = false }()
	for len(q.waiting) > 0 {
		n := min(len(q.waiting), maxPacketEvents)
		packet := packetOf(slices.Clone(q.waiting[:n]))
		q.waiting = slices.Delete(q.waiting, 0, n)
		q.tell(packet)
	}
}

// tell reports without the lock, which is held again even after a panic.
func (q *eventQueue) tell(packet *pb.TelemetryPacket) {
	q.mu.Unlock()
	defer q.mu.Lock()
	q.report(packet, priorityOf(packet.Level))
}

// packetOf puts events into a packet, which has the level of the worst of them.
func packetOf(events []*pb.TelemetryEvent) *pb.TelemetryPacket {
	level := pb.TelemetryLevel_TELEMETRY_LEVEL_INFO
	for _, e := range events {
		level = max(level, e.Level)
	}
	return &pb.TelemetryPacket{
		PacketId:        "kasmina-" + uuid.NewString(),
		Timestamp:       timestamppb.Now(),
		SourceSubsystem: "kasmina",
		Level:           level,
		Events:          events,
	}
}

func priorityOf(level pb.TelemetryLevel) pb.MessagePriority {
	switch {
	case level >= pb.TelemetryLevel_TELEMETRY_LEVEL_CRITICAL:
		return pb.MessagePriority_MESSAGE_PRIORITY_CRITICAL
	case level >= pb.TelemetryLevel_TELEMETRY_LEVEL_WARNING:
		return pb.MessagePriority_MESSAGE_PRIORITY_HIGH
	}
	return pb.MessagePriority_MESSAGE_PRIORITY_NORMAL
}
