package main

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/esper-lite/esper/leyline/leylineprom"
)

// routes serves what the receiver knows.
func (r *receiver) routes() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(leylineprom.NewGroupCollector(r.groups), counters{r})
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 4, Timeout: 10 * time.Second,
	}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("ok\n")) // whoever asked and left needs no answer
	})
	return mux
}

// groups are the figures of every process, with who it is as labels.
func (r *receiver) groups() []leylineprom.Group {
	r.mu.Lock()
	defer r.mu.Unlock()
	groups := make([]leylineprom.Group, 0, len(r.processes))
	for from, said := range r.processes {
		groups = append(groups, leylineprom.Group{
			Labels:  map[string]string{"source": from.Source, "instance": from.Instance},
			Figures: said.figures,
		})
	}
	return groups
}

// counters shows what the receiver counted itself.
type counters struct{ *receiver }

var (
	packetsDesc  = prometheus.NewDesc("esper_telemetry_packets_total", "Telemetry packets received.", []string{"source"}, nil)
	eventsDesc   = prometheus.NewDesc("esper_telemetry_events_total", "Events in telemetry packets.", []string{"source", "description", "level"}, nil)
	messagesDesc = prometheus.NewDesc("esper_nissa_documents_total", "Messages made a document.", []string{"type"}, nil)
	refusedDesc  = prometheus.NewDesc("esper_nissa_refused_total", "Messages that could not be made a document.", nil, nil)
	healthDesc   = prometheus.NewDesc("esper_health_status", "Health of a process (1 healthy, 2 degraded, 3 unhealthy, 4 critical).", []string{"source", "instance"}, nil)
	seenDesc     = prometheus.NewDesc("esper_telemetry_last_packet_timestamp_seconds", "When the last packet of a process came.", []string{"source", "instance"}, nil)
)

// Describe sends nothing: who sends telemetry changes at run time.
func (counters) Describe(chan<- *prometheus.Desc) {}

// Collect sends the counters.
func (c counters) Collect(out chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	send := func(desc *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		if m, err := prometheus.NewConstMetric(desc, kind, value, labels...); err == nil {
			out <- m
		}
	}
	for source, n := range c.packets {
		send(packetsDesc, prometheus.CounterValue, n, source)
	}
	for e, n := range c.events {
		send(eventsDesc, prometheus.CounterValue, n, e.Source, e.Description, e.Level)
	}
	for kind, n := range c.messages {
		send(messagesDesc, prometheus.CounterValue, n, kind)
	}
	send(refusedDesc, prometheus.CounterValue, c.refused)
	for from, said := range c.processes {
		send(healthDesc, prometheus.GaugeValue, float64(said.health), from.Source, from.Instance)
		send(seenDesc, prometheus.GaugeValue, float64(said.at.UnixMilli())/1000, from.Source, from.Instance)
	}
}
