package main

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
)

// figuresOf returns figures by name, those with attributes by name and bound.
func figuresOf(metrics []leyline.Metric) map[string]float64 {
	m := make(map[string]float64)
	for _, f := range metrics {
		if bound := f.Attributes[attributeBound]; bound != "" {
			f.Name += " " + bound
		}
		m[f.Name] = f.Value
	}
	return m
}

func TestHistogram(t *testing.T) {
	var h histogram
	for range 2 {
		var some tallied
		for _, d := range []time.Duration{-time.Second, 0, time.Millisecond, 1001 * time.Microsecond, 100 * time.Millisecond, time.Hour} {
			some.observe(d)
		}
		h.add(&some)
	}
	got := figuresOf(h.appendMetrics(nil, "x_ms"))
	for name, want := range map[string]float64{
		"x_ms.bucket 1": 6, "x_ms.bucket 2": 8, "x_ms.bucket 50": 8, "x_ms.bucket 100": 10, "x_ms.bucket 30000": 10,
		"x_ms.bucket +Inf": 12, "x_ms.count": 12, "x_ms.sum": 2 * (1 + 1.001 + 100 + 3600_000),
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	if len(got) != len(durationBounds)+3 {
		t.Errorf("%d figures", len(got))
	}
}

// TestTimedBus: every answered request is timed once, from its arrival; one that
// failed is timed when it is answered.
func TestTimedBus(t *testing.T) {
	bus := newTestBus(t)
	timed := &timedBus{Client: bus.client}
	streams := bus.client.Streams()
	bus.publish(&pb.KernelPrefetchRequest{RequestId: "1", IssuedAt: timestamppb.Now()}, &pb.KernelPrefetchRequest{RequestId: "2", IssuedAt: timestamppb.Now()})
	ctx, done := context.WithCancel(t.Context())
	tries := make(map[string]int)
	handler := oona.Each(func(_ context.Context, r *pb.KernelPrefetchRequest, m *oona.Message) ([]proto.Message, error) {
		tries[r.GetRequestId()]++
		switch {
		case r.GetRequestId() == "2" && tries["2"] == 1:
			return nil, errors.New("not now")
		case r.GetRequestId() == "2":
			time.AfterFunc(100*time.Millisecond, done)
		}
		return nil, nil
	})
	err := timed.Consume(ctx, oona.Subscription{Stream: streams.KernelRequests, Group: "g", RetryBase: 300 * time.Millisecond, Workers: 1}, handler)
	if err != nil {
		t.Fatal(err)
	}
	got := figuresOf(timed.AppendMetrics(nil))
	if got[figureDuration+".count"] != 2 || got[figureWait+".count"] != 2 {
		t.Errorf("%v timed, %v waited, want 2 and 2", got[figureDuration+".count"], got[figureWait+".count"])
	}
	if sum := got[figureDuration+".sum"]; sum < 200 || sum > 20000 {
		t.Errorf("both took %v ms, though one was retried after about 300 ms", sum)
	}
	if got["urza.prefetch.duration_ms.bucket 100"] > 1 {
		t.Error("the retried one counts as quick")
	}
}

func TestTimingAllocatesNothing(t *testing.T) {
	var b timedBus
	batch, results := make([]*oona.Message, 256), make([]oona.Result, 256)
	for i := range batch {
		batch[i] = &oona.Message{Arrival: storyStart}
	}
	at := storyStart.Add(time.Millisecond)
	if n := testing.AllocsPerRun(100, func() { b.time(batch, results, at, at) }); n != 0 {
		t.Errorf("%v allocations a batch", n)
	}
}

func BenchmarkTimedBatch(b *testing.B) {
	var bus timedBus
	batch, results := make([]*oona.Message, 256), make([]oona.Result, 256)
	for i := range batch {
		batch[i] = &oona.Message{Arrival: storyStart}
	}
	at := storyStart.Add(3 * time.Millisecond)
	b.ReportAllocs()
	for b.Loop() {
		bus.time(batch, results, at, at)
	}
}
