package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/leyline/leylineprom"
)

// healthFunc says how the service is, in the words of telemetry.
type healthFunc func() (status pb.HealthStatus, summary string)

// metricsServer serves the figures of telemetry to Prometheus, at /metrics, and
// the health of the service at /healthz. Run serves until its context ends, and
// may be called again.
//
// Nobody has to prove who they are: what is shown is figures and names, no
// message and no secret. Keep the address on a network of one's own all the same.
type metricsServer struct {
	addr    string
	handler http.Handler
	log     *slog.Logger
	first   atomic.Pointer[net.Listener] // until the first Run
}

// newMetricsServer listens at addr, so that a wrong address is a wrong setting
// and not a worker that crashes. Close it if it is never run.
func newMetricsServer(addr string, health healthFunc, log *slog.Logger, sources ...leylineprom.Source) (*metricsServer, error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, usageErrorf("WEATHERLIGHT_METRICS_ADDR: %w", err)
	}
	m := &metricsServer{addr: listener.Addr().String(), log: log}
	m.handler = m.routes(newRegistry(sources...), health)
	m.first.Store(&listener)
	return m, nil
}

// newRegistry holds everything that /metrics shows: the figures of the sources,
// what was built, and what the Go runtime and the process say of themselves.
func newRegistry(sources ...leylineprom.Source) *prometheus.Registry {
	build := readBuildInfo()
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "esper_build_info",
		Help: "What this binary was built from; its value is 1.",
		ConstLabels: prometheus.Labels{
			"version": build.Version, "commit": build.Commit, "go": build.Go, "platform": build.Platform,
		},
	})
	info.Set(1)
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		info,
		leylineprom.NewCollector(sources...),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return registry
}

// Bounds of a scrape.
const (
	scrapesAtOnce = 4
	scrapeTimeout = 10 * time.Second
)

func (m *metricsServer) routes(registry *prometheus.Registry, health healthFunc) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(m.log.Handler(), slog.LevelError),
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: scrapesAtOnce,
		Timeout:             scrapeTimeout,
	}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { writeHealth(w, health) })
	return mux
}

// writeHealth answers 200 unless health is critical: a process that is degraded
// does its work, and one that was told to halt by an emergency signal is well.
func writeHealth(w http.ResponseWriter, health healthFunc) {
	status, summary := health()
	code := http.StatusOK
	if status == pb.HealthStatus_HEALTH_STATUS_CRITICAL {
		code = http.StatusServiceUnavailable
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	// Whoever asked and left needs no answer.
	_ = printJSON(w, struct {
		Status  string `json:"status"`
		Summary string `json:"summary"`
	}{healthName(status), summary})
}

// Run serves until ctx ends.
func (m *metricsServer) Run(ctx context.Context) error { return m.RunReady(ctx, func() {}) }

// RunReady is Run that calls ready when connections are accepted.
func (m *metricsServer) RunReady(ctx context.Context, ready func()) error {
	listener, err := m.listen()
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	server := &http.Server{
		Handler:           m.handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      2 * scrapeTimeout,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(m.log.Handler(), slog.LevelDebug),
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if server.Shutdown(grace) != nil {
			_ = server.Close() // a scrape that hangs does not hold up the end
		}
	})
	m.log.InfoContext(ctx, "metrics are served", "address", m.addr)
	ready()
	err = server.Serve(listener)
	if !stop() {
		<-stopped
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("metrics: %w", err)
}

// serveAgain is how long the server waits after it failed.
const serveAgain = 5 * time.Second

// beside serves until stop is called, also after ctx has ended: how a service
// stops can be seen. It is no worker of the supervisor's, since it would be one
// that is up when none that does the work is.
func (m *metricsServer) beside(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			err := m.Run(ctx)
			if err == nil {
				return
			}
			m.log.ErrorContext(ctx, "metrics are not served, will try again", "error", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(serveAgain):
			}
		}
	})
	return func() { cancel(); serving.Wait() }
}

// listen returns the listener of newMetricsServer, and a new one after that.
func (m *metricsServer) listen() (net.Listener, error) {
	if l := m.first.Swap(nil); l != nil {
		return *l, nil
	}
	return net.Listen("tcp", m.addr)
}

// Close lets go of the address, if Run was never called.
func (m *metricsServer) Close() error {
	if l := m.first.Swap(nil); l != nil {
		return (*l).Close()
	}
	return nil
}
