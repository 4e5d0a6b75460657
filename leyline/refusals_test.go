package leyline_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

const (
	unspecified = pb.BusMessageType_BUS_MESSAGE_TYPE_UNSPECIFIED
	request     = pb.BusMessageType_BUS_MESSAGE_TYPE_KERNEL_PREFETCH_REQUEST
)

func TestRefusals(t *testing.T) {
	var r leyline.Refusals
	if r.Snapshot() != nil || r.AppendMetrics(nil) != nil {
		t.Error("the zero Refusals is not empty")
	}
	r.Count("oona.normal", unspecified, leyline.Unsigned)
	r.Count("oona.kernels.requests", request, leyline.Replayed)
	r.Count("oona.kernels.requests", request, leyline.Replayed)
	r.Count("oona.kernels.requests", request, leyline.Malformed)
	r.Add("oona.kernels.requests", unspecified, leyline.BadSignature, 1000)
	r.Count("oona.normal", 99, leyline.UnknownType)
	r.Count("oona.normal", -1, leyline.UnknownType)
	r.Count("oona.normal", request, "no such reason")
	want := []leyline.Refusal{
		{"oona.kernels.requests", "UNSPECIFIED", leyline.BadSignature, 1000},
		{"oona.kernels.requests", "KERNEL_PREFETCH_REQUEST", leyline.Replayed, 2},
		{"oona.kernels.requests", "KERNEL_PREFETCH_REQUEST", leyline.Malformed, 1},
		{"oona.normal", "UNSPECIFIED", leyline.Unsigned, 1},
		{"oona.normal", "KERNEL_PREFETCH_REQUEST", "other", 1},
		{"oona.normal", "OTHER", leyline.UnknownType, 2},
	}
	if diff := cmp.Diff(want, r.Snapshot()); diff != "" {
		t.Errorf("Snapshot (-want +got):\n%s", diff)
	}
	names := make(map[string]float64)
	for _, m := range r.AppendMetrics(nil) {
		names[fmt.Sprintf("%s{%s,%s} %s", m.Name, m.Attributes["stream"], m.Attributes["type"], m.Unit)] = m.Value
	}
	if diff := cmp.Diff(map[string]float64{
		"oona.refused.bad_signature{oona.kernels.requests,UNSPECIFIED} count":               1000,
		"oona.refused.replayed{oona.kernels.requests,KERNEL_PREFETCH_REQUEST} count":        2,
		"oona.dead_lettered.malformed{oona.kernels.requests,KERNEL_PREFETCH_REQUEST} count": 1,
		"oona.refused.unsigned{oona.normal,UNSPECIFIED} count":                              1,
		"oona.refused.other{oona.normal,KERNEL_PREFETCH_REQUEST} count":                     1,
		"oona.dead_lettered.unknown_type{oona.normal,OTHER} count":                          2,
	}, names); diff != "" {
		t.Errorf("AppendMetrics (-want +got):\n%s", diff)
	}
	if n := r.Total(leyline.UnknownType); n != 2 {
		t.Errorf("Total = %d, want 2", n)
	}
}

// Every type of the schema and every reason has a counter of its own.
func TestRefusalsKnowEverything(t *testing.T) {
	var r leyline.Refusals
	values := pb.BusMessageType(0).Descriptor().Values()
	for i := range values.Len() {
		for _, reason := range leyline.Reasons() {
			r.Count("s", pb.BusMessageType(values.Get(i).Number()), reason)
		}
	}
	all := r.Snapshot()
	if want := values.Len() * len(leyline.Reasons()); len(all) != want {
		t.Errorf("%d counters, want %d", len(all), want)
	}
	for _, refusal := range all {
		if refusal.Count != 1 || refusal.Type == "OTHER" || refusal.Reason == "other" {
			t.Errorf("%+v", refusal)
		}
	}
}

// Somebody who makes up streams fills no memory, and every message still counts.
func TestRefusalsBound(t *testing.T) {
	var r leyline.Refusals
	const streams = 10_000
	for i := range streams {
		r.Count(fmt.Sprintf("stream-%05d", i), unspecified, leyline.Unsigned)
	}
	r.Count("stream-00000", unspecified, leyline.Unsigned)
	all := r.Snapshot()
	if len(all) != leyline.MaxRefusalStreams+1 {
		t.Errorf("%d streams told apart", len(all))
	}
	if n := r.Total(leyline.Unsigned); n != streams+1 {
		t.Errorf("Total = %d, want %d", n, streams+1)
	}
	for _, refusal := range all {
		switch want := uint64(streams - leyline.MaxRefusalStreams); {
		case refusal.Stream == leyline.OtherStream && refusal.Count != want:
			t.Errorf("%s: %d, want %d", refusal.Stream, refusal.Count, want)
		case refusal.Stream == "stream-00000" && refusal.Count != 2:
			t.Errorf("%+v", refusal)
		}
	}
}

func TestRefusalsConcurrent(t *testing.T) {
	var r leyline.Refusals
	var wg sync.WaitGroup
	const goroutines, each = 16, 2000
	for g := range goroutines {
		wg.Go(func() {
			for i := range each {
				r.Count(fmt.Sprint("stream-", (g+i)%100), request, leyline.Stale)
				if i%500 == 0 {
					r.AppendMetrics(nil)
				}
			}
		})
	}
	wg.Wait()
	if n := r.Total(leyline.Stale); n != goroutines*each {
		t.Errorf("Total = %d, want %d", n, goroutines*each)
	}
}

func TestRefusalsAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector changes allocations")
	}
	var r leyline.Refusals
	r.Count("s", request, leyline.Stale)
	if n := testing.AllocsPerRun(1000, func() { r.Count("s", request, leyline.Stale) }); n != 0 {
		t.Errorf("Count allocates %v times", n)
	}
}
