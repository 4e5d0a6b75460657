package oona_test

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/protobuf/proto"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
	"github.com/esper-lite/esper/oona/oonatest/redistest"
)

// BenchmarkDrain: what a request costs that waits in the stream, from reading to
// the commit of its answer, everything on. An iteration drains 20,000.
func BenchmarkDrain(b *testing.B) {
	const n = 20_000
	server := redistest.Start(b, "--appendonly", "no")
	rdb := server.Client()
	c, err := oona.New(b.Context(), rdb, oona.Config{Codec: newCodec(b), Consumer: "a", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	var answered atomic.Int64
	done := make(chan struct{}, 1)
	handler := oona.Each(func(_ context.Context, r *pb.KernelPrefetchRequest, _ *oona.Message) ([]proto.Message, error) {
		return []proto.Message{&pb.KernelArtifactReady{RequestId: r.GetRequestId(), BlueprintId: r.GetBlueprintId()}}, nil
	})
	b.ReportAllocs()
	var allocs, bytes uint64
	round := 0
	for b.Loop() {
		b.StopTimer()
		rdb.Del(b.Context(), c.Streams().KernelRequests, c.Streams().KernelReady)
		for start := 0; start < n; start += 1000 {
			out := make([]oona.Outgoing, 1000)
			for i := range out {
				out[i].Message = request(fmt.Sprintf("%d-%d", round, start+i))
			}
			if _, err := c.Send(b.Context(), out...); err != nil {
				b.Fatal(err)
			}
		}
		round++
		answered.Store(0)
		counted := oona.HandlerFunc(func(ctx context.Context, batch []*oona.Message) []oona.Result {
			results := handler.Handle(ctx, batch)
			if answered.Add(int64(len(batch))) == n {
				done <- struct{}{}
			}
			return results
		})
		ctx, cancel := context.WithCancel(b.Context())
		var wg sync.WaitGroup
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		b.StartTimer()
		wg.Go(func() {
			_ = c.Consume(ctx, oona.Subscription{Stream: c.Streams().KernelRequests, Group: "weatherlight"}, counted)
		})
		<-done
		cancel()
		wg.Wait() // the last commits
		b.StopTimer()
		runtime.ReadMemStats(&after)
		allocs += after.Mallocs - before.Mallocs
		bytes += after.TotalAlloc - before.TotalAlloc
		if got := rdb.XLen(b.Context(), c.Streams().KernelReady).Val(); got != n {
			b.Fatalf("%d answers", got)
		}
		b.StartTimer()
	}
	messages := float64(b.N * n)
	b.ReportMetric(messages/b.Elapsed().Seconds(), "msgs/s")
	b.ReportMetric(float64(allocs)/messages, "allocs/msg")
	b.ReportMetric(float64(bytes)/messages, "B/msg")
	b.ReportMetric(0, "allocs/op")
	b.ReportMetric(0, "B/op")
}

// BenchmarkPublish: what publishing one message costs, alone and in batches.
func BenchmarkPublish(b *testing.B) {
	for _, batch := range []int{1, 256} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			rdb := redistest.Start(b, "--appendonly", "no").Client()
			c, err := oona.New(b.Context(), rdb, oona.Config{Codec: newCodec(b), Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				b.Fatal(err)
			}
			out := make([]oona.Outgoing, batch)
			for i := range out {
				out[i].Message = request(fmt.Sprintf("req-%d", i))
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Send(b.Context(), out...); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "msgs/s")
		})
	}
}
