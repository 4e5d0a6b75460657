package oona

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

// Streams names the streams of a fleet. An empty name means the
// default, which is that of every fleet, on a Redis Cluster with the hash tag {oona}.
type Streams struct {
	Normal         string // default oona.normal
	Emergency      string // default oona.emergency
	Telemetry      string // default oona.telemetry
	Policy         string // default oona.policy
	KernelRequests string // default oona.kernels.requests
	KernelReady    string // default oona.kernels.ready
	KernelErrors   string // default oona.kernels.errors
	DeadLetter     string // default oona.deadletter
}

// ErrStreams is returned for stream names that cannot work.
var ErrStreams = errors.New("oona: stream names")

// clusterTag makes every key of ours share one slot, which scripts over several
// streams need.
const clusterTag = "{oona}"

func (s Streams) withDefaults(cluster bool) Streams {
	name := func(given, rest string) string {
		if cluster {
			return cmp.Or(given, clusterTag+rest)
		}
		return cmp.Or(given, "oona"+rest)
	}
	return Streams{
		Normal:         name(s.Normal, ".normal"),
		Emergency:      name(s.Emergency, ".emergency"),
		Telemetry:      name(s.Telemetry, ".telemetry"),
		Policy:         name(s.Policy, ".policy"),
		KernelRequests: name(s.KernelRequests, ".kernels.requests"),
		KernelReady:    name(s.KernelReady, ".kernels.ready"),
		KernelErrors:   name(s.KernelErrors, ".kernels.errors"),
		DeadLetter:     name(s.DeadLetter, ".deadletter"),
	}
}

// All returns the names in the order of the fields.
func (s Streams) All() []string {
	return []string{
		s.Normal, s.Emergency, s.Telemetry, s.Policy,
		s.KernelRequests, s.KernelReady, s.KernelErrors, s.DeadLetter,
	}
}

// validate refuses names that a script or a reader would confuse.
func (s Streams) validate(cluster bool) error {
	seen := make(map[string]bool)
	for _, name := range s.All() {
		if seen[name] {
			return fmt.Errorf("%w: two are %q", ErrStreams, name)
		}
		seen[name] = true
		if cluster && hashTag(name) != hashTag(clusterTag) {
			return fmt.Errorf("%w: %q lacks the hash tag %s, which Redis Cluster needs", ErrStreams, name, clusterTag)
		}
	}
	return nil
}

// ofOneSlot refuses a stream on a Cluster that scripts cannot use together with
// the client's own.
func (c *Client) ofOneSlot(stream string) error {
	if c.conn.cluster && hashTag(stream) != hashTag(clusterTag) {
		return fmt.Errorf("%w: %q lacks the hash tag %s, which Redis Cluster needs", ErrStreams, stream, clusterTag)
	}
	return nil
}

// Route returns the stream on which messages of type t travel, and false for a
// type that has none.
func (s Streams) Route(t pb.BusMessageType) (string, bool) {
	switch t {
	case pb.BusMessageType_BUS_MESSAGE_TYPE_SYSTEM_STATE,
		pb.BusMessageType_BUS_MESSAGE_TYPE_ADAPTATION_COMMAND,
		pb.BusMessageType_BUS_MESSAGE_TYPE_FIELD_REPORT,
		pb.BusMessageType_BUS_MESSAGE_TYPE_BSDS_ISSUED,
		pb.BusMessageType_BUS_MESSAGE_TYPE_BSDS_FAILED,
		pb.BusMessageType_BUS_MESSAGE_TYPE_BENCHMARK_REPORT:
		return s.Normal, true
	case pb.BusMessageType_BUS_MESSAGE_TYPE_EMERGENCY_SIGNAL:
		return s.Emergency, true
	case pb.BusMessageType_BUS_MESSAGE_TYPE_TELEMETRY:
		return s.Telemetry, true
	case pb.BusMessageType_BUS_MESSAGE_TYPE_POLICY_UPDATE:
		return s.Policy, true
	case pb.BusMessageType_BUS_MESSAGE_TYPE_KERNEL_PREFETCH_REQUEST:
		return s.KernelRequests, true
	case pb.BusMessageType_BUS_MESSAGE_TYPE_KERNEL_PREFETCH_READY,
		pb.BusMessageType_BUS_MESSAGE_TYPE_KERNEL_CATALOG_UPDATE:
		return s.KernelReady, true
	case pb.BusMessageType_BUS_MESSAGE_TYPE_KERNEL_PREFETCH_ERROR:
		return s.KernelErrors, true
	}
	return "", false
}

// audience is the stream's name as it stands in the signed attribute: without
// hash tag, so that a message keeps its audience when a fleet moves to a Cluster.
func audience(stream string) string {
	open := strings.IndexByte(stream, '{')
	if open < 0 {
		return stream
	}
	end := strings.IndexByte(stream[open:], '}')
	if end < 0 {
		return stream
	}
	return stream[:open] + stream[open+1:open+end] + stream[open+end+1:]
}

// hashTag returns the part of a key that Redis Cluster hashes.
func hashTag(key string) string {
	if _, rest, ok := strings.Cut(key, "{"); ok {
		if tag, _, ok := strings.Cut(rest, "}"); ok && tag != "" {
			return tag
		}
	}
	return key
}
