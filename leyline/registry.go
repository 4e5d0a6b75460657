package leyline

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

// ErrNotABusMessage is returned for a message of a type that does not travel on
// the bus by itself.
var ErrNotABusMessage = errors.New("leyline: not a bus message")

// TypeOf returns the bus message type of msg, and false where msg is no bus
// message.
func TypeOf(msg proto.Message) (pb.BusMessageType, bool) {
	switch msg.(type) {
	case *pb.SystemStatePacket:
		return pb.BusMessageType_BUS_MESSAGE_TYPE_SYSTEM_STATE, true
	case *pb.AdaptationCommand:
		return pb.BusMessageType_BUS_MESSAGE_TYPE_ADAPTATION_COMMAND, true
	case *pb.FieldReport:
		return pb.BusMessageType_BUS_MESSAGE_TYPE_FIELD_REPORT, true
	case *pb.TelemetryPacket:
		return pb.BusMessageType_BUS_MESSAGE_TYPE_TELEMETRY, true
	case *pb.PolicyUpdate:
		return pb.BusMessageType_BUS_MESSAGE_TYPE_POLICY_UPDATE, true
	case *pb.KernelPrefetchRequest:
		return pb.BusMessageType_BUS_MESSAGE_TYPE_KERNEL_PREFETCH_REQUEST, true
	case *pb.KernelArtifactReady:
		return pb.BusMessageType_BUS_MESSAGE_TYPE_KERNEL_PREFETCH_READY, true
	case *pb.KernelArtifactError:
		return pb.BusMessageType_BUS_MESSAGE_TYPE_KERNEL_PREFETCH_ERROR, true
	case *pb.KernelCatalogUpdate:
		return pb.BusMessageType_BUS_MESSAGE_TYPE_KERNEL_CATALOG_UPDATE, true
	case *pb.EmergencySignal:
		return pb.BusMessageType_BUS_MESSAGE_TYPE_EMERGENCY_SIGNAL, true
	case *pb.BSDSIssued:
		return pb.BusMessageType_BUS_MESSAGE_TYPE_BSDS_ISSUED, true
	case *pb.BSDSFailed:
		return pb.BusMessageType_BUS_MESSAGE_TYPE_BSDS_FAILED, true
	case *pb.BenchmarkReport:
		return pb.BusMessageType_BUS_MESSAGE_TYPE_BENCHMARK_REPORT, true
	}
	return pb.BusMessageType_BUS_MESSAGE_TYPE_UNSPECIFIED, false
}

// New returns an empty message of type t, and false for a type that the schema
// does not have.
func New(t pb.BusMessageType) (proto.Message, bool) {
	switch t {
	case pb.BusMessageType_BUS_MESSAGE_TYPE_SYSTEM_STATE:
		return new(pb.SystemStatePacket), true
	case pb.BusMessageType_BUS_MESSAGE_TYPE_ADAPTATION_COMMAND:
		return new(pb.AdaptationCommand), true
	case pb.BusMessageType_BUS_MESSAGE_TYPE_FIELD_REPORT:
		return new(pb.FieldReport), true
	case pb.BusMessageType_BUS_MESSAGE_TYPE_TELEMETRY:
		return new(pb.TelemetryPacket), true
	case pb.BusMessageType_BUS_MESSAGE_TYPE_POLICY_UPDATE:
		return new(pb.PolicyUpdate), true
	case pb.BusMessageType_BUS_MESSAGE_TYPE_KERNEL_PREFETCH_REQUEST:
		return new(pb.KernelPrefetchRequest), true
	case pb.BusMessageType_BUS_MESSAGE_TYPE_KERNEL_PREFETCH_READY:
		return new(pb.KernelArtifactReady), true
	case pb.BusMessageType_BUS_MESSAGE_TYPE_KERNEL_PREFETCH_ERROR:
		return new(pb.KernelArtifactError), true
	case pb.BusMessageType_BUS_MESSAGE_TYPE_KERNEL_CATALOG_UPDATE:
		return new(pb.KernelCatalogUpdate), true
	case pb.BusMessageType_BUS_MESSAGE_TYPE_EMERGENCY_SIGNAL:
		return new(pb.EmergencySignal), true
	case pb.BusMessageType_BUS_MESSAGE_TYPE_BSDS_ISSUED:
		return new(pb.BSDSIssued), true
	case pb.BusMessageType_BUS_MESSAGE_TYPE_BSDS_FAILED:
		return new(pb.BSDSFailed), true
	case pb.BusMessageType_BUS_MESSAGE_TYPE_BENCHMARK_REPORT:
		return new(pb.BenchmarkReport), true
	}
	return nil, false
}

// Decode returns the message inside an envelope. Its errors are [UnknownType]
// for a type that the schema does not have and [Malformed], with the cause, for
// bytes that are not a message of their type.
func Decode(env Envelope) (proto.Message, error) {
	msg, ok := New(env.Type)
	if !ok {
		return nil, UnknownType
	}
	if err := proto.Unmarshal(env.Payload, msg); err != nil {
		return nil, fmt.Errorf("%w: %v: %w", Malformed, env.Type, err)
	}
	return msg, nil
}

// Identity is what the guard knows a message by.
type Identity struct {
	// Nonce is unique to the message; empty where it has none.
	Nonce string
	// IssuedAtMs is the Unix time in ms at which the message says it was
	// issued; 0 where it does not say.
	IssuedAtMs int64
	// Dated is set for types that must say when they were issued: without a
	// time they are stale.
	Dated bool
}

// IdentityOf returns the identity of a decoded message: its own id and time
// where its type has them, otherwise the signed message_id and issued_at_ms of
// its envelope. A KernelPrefetchRequest has request_id and issued_at, an
// AdaptationCommand command_id and issued_at, an answer the request_id: these
// with an empty id are [Malformed] (contract section 2).
func IdentityOf(env Envelope, msg proto.Message) (Identity, error) {
	id := Identity{IssuedAtMs: env.issuedAtMs}
	switch m := msg.(type) {
	case *pb.KernelPrefetchRequest:
		id = Identity{Nonce: m.GetRequestId(), IssuedAtMs: timestampMs(m.GetIssuedAt()), Dated: true}
	case *pb.AdaptationCommand:
		id = Identity{Nonce: m.GetCommandId(), IssuedAtMs: timestampMs(m.GetIssuedAt()), Dated: true}
	case *pb.KernelArtifactReady:
		id.Nonce = m.GetRequestId()
	case *pb.KernelArtifactError:
		id.Nonce = m.GetRequestId()
	default:
		id.Nonce = env.MessageID()
		return id, nil
	}
	if id.Nonce == "" {
		return id, fmt.Errorf("%w: %v without its id", Malformed, env.Type)
	}
	return id, nil
}

// timestampMs returns t in Unix milliseconds; 0 for an absent time.
func timestampMs(t *timestamppb.Timestamp) int64 {
	return unixMs(t.GetSeconds(), int(t.GetNanos()))
}

// unixMs returns a Unix time in milliseconds, rounded down, and clamps
// what does not fit: a message dated in the year 300,000,000 is in the future,
// not in the past.
func unixMs(sec int64, nanos int) int64 {
	const most = 1<<62 - 1
	if sec > most/1000 {
		return most
	}
	if sec < -most/1000 {
		return -most
	}
	return sec*1000 + int64(nanos)/int64(time.Millisecond)
}
