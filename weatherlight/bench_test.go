package weatherlight_test

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/esper-lite/esper/weatherlight"
)

const benchWorkers = 10_000

// filled returns a supervisor with n workers, as bare as they can be.
func filled(b *testing.B, n int, worker weatherlight.WorkerFunc) *weatherlight.Supervisor {
	b.Helper()
	s, err := weatherlight.New(weatherlight.Config{})
	if err != nil {
		b.Fatal(err)
	}
	for i := range n {
		if _, err := s.Add(weatherlight.Spec{
			Name: strconv.Itoa(i), Worker: worker, Backoff: weatherlight.Backoff{Initial: weatherlight.AtOnce},
		}); err != nil {
			b.Fatal(err)
		}
	}
	return s
}

// running runs s until the benchmark ends; all workers are up when it returns.
func running(b *testing.B, s *weatherlight.Supervisor) {
	b.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		if err := s.RunReady(ctx, func() { close(ready) }); err != nil {
			b.Error(err)
		}
	}()
	<-ready
	b.Cleanup(func() {
		cancel()
		<-done
	})
}

// How long does it take to add, start and stop many workers?
func BenchmarkStartStop(b *testing.B) {
	for _, n := range []int{benchWorkers, 10 * benchWorkers} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s := filled(b, n, idle)
				ctx, cancel := context.WithCancel(context.Background())
				if err := s.RunReady(ctx, cancel); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/worker")
		})
	}
}

// crash is a worker of a crash storm: it fails as fast as it can.
func crash(context.Context) error { return errBoom }

// What does it cost to look at many workers?
func BenchmarkLook(b *testing.B) {
	for name, worker := range map[string]weatherlight.WorkerFunc{"idle": idle, "storm": crash} {
		b.Run("snapshot/"+name, func(b *testing.B) {
			s := filled(b, benchWorkers, worker)
			running(b, s)
			b.ReportAllocs()
			for b.Loop() {
				s.Snapshot()
			}
		})
		b.Run("workers/"+name, func(b *testing.B) {
			s := filled(b, benchWorkers, worker)
			running(b, s)
			dst := make([]weatherlight.WorkerStatus, 0, benchWorkers)
			b.ReportAllocs()
			for b.Loop() {
				dst = s.AppendWorkers(dst[:0])
			}
		})
	}
}

// What does a failure and the restart after it cost, without a backoff?
func BenchmarkRestart(b *testing.B) {
	for name, fail := range map[string]func() error{
		"error": func() error { return errBoom },
		"panic": func() error { panic(errBoom) },
	} {
		b.Run(name, func(b *testing.B) {
			var left atomic.Int64
			left.Store(int64(b.N))
			done := make(chan struct{})
			s := filled(b, 1, func(ctx context.Context) error {
				switch n := left.Add(-1); {
				case n >= 0:
					return fail()
				case n == -1:
					close(done)
				}
				return idle(ctx)
			})
			b.ReportAllocs()
			b.ResetTimer()
			running(b, s)
			<-done
		})
	}
}
