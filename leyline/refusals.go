package leyline

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

// MaxRefusalStreams is how many streams a [Refusals] tells apart.
const MaxRefusalStreams = 64

// OtherStream stands for every stream beyond the first [MaxRefusalStreams].
const OtherStream = "other"

// Refusals counts the messages that were not handled, by stream, type and
// reason. The zero Refusals is ready to use, and safe for concurrent use.
// Counts only rise. A count of something counted before is two lookups and one
// atomic addition, without allocation.
//
// What is counted comes from whoever writes to the streams, so the number of
// counters is bounded: types that the schema does not have count as one,
// reasons that [Reasons] does not list as one, and the streams beyond the first
// [MaxRefusalStreams] as [OtherStream]. Sums over any of the three stay exact.
type Refusals struct {
	mu      sync.Mutex // held to add a stream
	streams atomic.Pointer[map[string]*streamRefusals]
}

// streamRefusals holds the counters of one stream: 2 KiB.
type streamRefusals [len(countedTypes) + 1][len(reasons) + 1]atomic.Uint64

// countedTypes are the types with counters of their own, the unknown one of
// unverified bytes first.
var countedTypes = [...]pb.BusMessageType{
	pb.BusMessageType_BUS_MESSAGE_TYPE_UNSPECIFIED,
	pb.BusMessageType_BUS_MESSAGE_TYPE_SYSTEM_STATE,
	pb.BusMessageType_BUS_MESSAGE_TYPE_ADAPTATION_COMMAND,
	pb.BusMessageType_BUS_MESSAGE_TYPE_FIELD_REPORT,
	pb.BusMessageType_BUS_MESSAGE_TYPE_TELEMETRY,
	pb.BusMessageType_BUS_MESSAGE_TYPE_POLICY_UPDATE,
	pb.BusMessageType_BUS_MESSAGE_TYPE_KERNEL_PREFETCH_REQUEST,
	pb.BusMessageType_BUS_MESSAGE_TYPE_KERNEL_PREFETCH_READY,
	pb.BusMessageType_BUS_MESSAGE_TYPE_KERNEL_PREFETCH_ERROR,
	pb.BusMessageType_BUS_MESSAGE_TYPE_KERNEL_CATALOG_UPDATE,
	pb.BusMessageType_BUS_MESSAGE_TYPE_EMERGENCY_SIGNAL,
	pb.BusMessageType_BUS_MESSAGE_TYPE_BSDS_ISSUED,
	pb.BusMessageType_BUS_MESSAGE_TYPE_BSDS_FAILED,
	pb.BusMessageType_BUS_MESSAGE_TYPE_BENCHMARK_REPORT,
}

// Count counts one message of a stream. The type is
// BUS_MESSAGE_TYPE_UNSPECIFIED where the message was refused before its
// envelope could be trusted.
func (r *Refusals) Count(stream string, t pb.BusMessageType, reason Reason) {
	r.Add(stream, t, reason, 1)
}

// Add counts n messages at once.
func (r *Refusals) Add(stream string, t pb.BusMessageType, reason Reason, n uint64) {
	var counts *streamRefusals
	if known := r.streams.Load(); known != nil {
		counts = (*known)[stream]
	}
	if counts == nil {
		counts = r.stream(stream)
	}
	// Index returns -1 for what is not listed; the last counter is theirs.
	i, j := slices.Index(countedTypes[:], t), slices.Index(reasons[:], reason)
	if i < 0 {
		i = len(countedTypes)
	}
	if j < 0 {
		j = len(reasons)
	}
	counts[i][j].Add(n)
}

// stream returns the counters of a stream that was not there a moment ago.
func (r *Refusals) stream(name string) *streamRefusals {
	r.mu.Lock()
	defer r.mu.Unlock()
	var known map[string]*streamRefusals
	if p := r.streams.Load(); p != nil {
		known = *p
	}
	if _, ok := known[name]; !ok && len(known) >= MaxRefusalStreams {
		name = OtherStream
	}
	if counts, ok := known[name]; ok {
		return counts
	}
	// Readers hold no lock: they get another map.
	grown := make(map[string]*streamRefusals, len(known)+1)
	maps.Copy(grown, known)
	counts := new(streamRefusals)
	grown[strings.Clone(name)] = counts
	r.streams.Store(&grown)
	return counts
}

// Refusal is one counter of a [Refusals].
type Refusal struct {
	Stream string
	// Type is the message type without its prefix, as in
	// "KERNEL_PREFETCH_REQUEST"; "UNSPECIFIED" where the message was refused
	// before its type could be trusted; "OTHER" for types that the schema does
	// not have.
	Type string
	// Reason is one of [Reasons], or "other".
	Reason Reason
	Count  uint64
}

// Snapshot returns every counter above zero, ordered by stream, type and
// reason.
func (r *Refusals) Snapshot() []Refusal {
	known := r.streams.Load()
	if known == nil {
		return nil
	}
	var all []Refusal
	for _, stream := range slices.Sorted(maps.Keys(*known)) {
		for i := range (*known)[stream] {
			for j := range (*known)[stream][i] {
				if n := (*known)[stream][i][j].Load(); n > 0 {
					all = append(all, Refusal{stream, countedTypeName(i), countedReason(j), n})
				}
			}
		}
	}
	return all
}

// Total returns the count of a reason over all streams and types.
func (r *Refusals) Total(reason Reason) (n uint64) {
	for _, refusal := range r.Snapshot() {
		if refusal.Reason == reason {
			n += refusal.Count
		}
	}
	return n
}

// AppendMetrics appends one figure per counter above zero to dst:
// oona.dead_lettered.<reason> for the reasons of authentic messages,
// oona.refused.<reason> for all others, each with the attributes stream and type.
func (r *Refusals) AppendMetrics(dst []Metric) []Metric {
	for _, refusal := range r.Snapshot() {
		prefix := "oona.refused."
		if refusal.Reason.Authentic() {
			prefix = "oona.dead_lettered."
		}
		dst = append(dst, Metric{
			Name:       prefix + string(refusal.Reason),
			Value:      float64(refusal.Count),
			Unit:       UnitCount,
			Attributes: map[string]string{"stream": refusal.Stream, "type": refusal.Type},
		})
	}
	return dst
}

func countedTypeName(i int) string {
	if i == len(countedTypes) {
		return "OTHER"
	}
	return strings.TrimPrefix(countedTypes[i].String(), "BUS_MESSAGE_TYPE_")
}

func countedReason(j int) Reason {
	if j == len(reasons) {
		return "other"
	}
	return reasons[j]
}
