package main

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona/oonatest/redistest"
)

// BenchmarkScrape is what one scrape of a service costs, everything included but
// the network: 10 ms would be 1 % of a core when there is one a second.
func BenchmarkScrape(b *testing.B) {
	svc := runningService(b)
	m := &metricsServer{log: slog.New(slog.DiscardHandler)}
	handler := m.routes(newRegistry(sourcesOf(svc)...), svc.reporter.Health)
	request := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	b.ReportAllocs()
	size := 0
	for b.Loop() {
		response := httptest.NewRecorder()
		handler.ServeHTTP(response, request)
		size = response.Body.Len()
	}
	b.ReportMetric(float64(size), "page-bytes")
}

// BenchmarkScrapedUnderLoad is how fast a real service works off a backlog on a
// real Redis while it is scraped every second, and while it is not. Compare the
// two of one run:
//
//	go test -run xxx -bench ScrapedUnderLoad -benchtime 1x -count 7 ./cmd/esper-weatherlight-service
func BenchmarkScrapedUnderLoad(b *testing.B) {
	const requests = 300_000
	for _, scraped := range []bool{false, true} {
		b.Run(fmt.Sprintf("scraped=%v", scraped), func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				took, scrapes, cpu := workOff(b, requests, scraped)
				b.StartTimer()
				b.ReportMetric(requests/took.Seconds(), "requests/s")
				b.ReportMetric(float64(cpu.Microseconds())/requests, "cpu-µs/request")
				b.ReportMetric(float64(scrapes), "scrapes")
			}
		})
	}
}

// workOff has a new service answer a backlog, and returns how long it took, how
// often it was scraped meanwhile, and how much of a processor the service used.
func workOff(b *testing.B, requests int, scraped bool) (took time.Duration, scrapes int, cpu time.Duration) {
	server := redistest.Start(b)
	defer server.Kill()
	client := busClient(b, server.URL(), "test")
	for from := 0; from < requests; from += 1000 {
		msgs := make([]proto.Message, 1000)
		for i := range msgs {
			msgs[i] = &pb.KernelPrefetchRequest{RequestId: requestID(from + i), BlueprintId: "BP001", IssuedAt: timestamppb.Now()}
		}
		if _, err := client.Publish(b.Context(), msgs...); err != nil {
			b.Fatal(err)
		}
	}
	service := start(b, serviceDir(b), with(serviceEnv(server), "WEATHERLIGHT_METRICS_ADDR", "127.0.0.1:0"))
	url := servedAt(b, service)
	rdb := server.Client()
	answered := func() int {
		return int(rdb.XLen(b.Context(), "oona.kernels.ready").Val() + rdb.XLen(b.Context(), "oona.kernels.errors").Val())
	}
	eventually(b, func() error { return errIf(answered() == 0, "nothing is answered") })
	began, first := time.Now(), answered()
	next := began
	for n := first; n < requests; n = answered() {
		if scraped && !time.Now().Before(next) {
			next = next.Add(time.Second)
			response, err := http.Get(url + "/metrics")
			if err != nil {
				b.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
			scrapes++
		}
		<-time.After(10 * time.Millisecond)
	}
	took = time.Since(began) * time.Duration(requests) / time.Duration(requests-first)
	_ = service.cmd.Process.Signal(os.Interrupt)
	service.wait(30 * time.Second)
	return took, scrapes, service.cmd.ProcessState.UserTime() + service.cmd.ProcessState.SystemTime()
}
