// Package leylineprom shows the figures of Esper's packages to Prometheus.
//
// Every package reports its figures in one way, AppendMetrics; a [Collector] is
// another view of the slice that telemetry packets carry:
//
//	registry := prometheus.NewRegistry()
//	registry.MustRegister(leylineprom.NewCollector(supervisor, bus, library))
//
// # Names
//
// A figure keeps its name, with esper_ before it, underscores for dots, and the
// unit and suffix that Prometheus expects: urza.library.lookup_latency_ms becomes
// esper_urza_library_lookup_latency_seconds, urza.prefetch.hits becomes
// esper_urza_prefetch_hits_total. Where a part of the name says which of many is
// meant, it becomes a label: weatherlight.worker.urza_prefetch.restarts is
// esper_weatherlight_worker_restarts_total{worker="urza_prefetch"}. Attributes
// of a figure are labels. [Families] lists what is known; a figure that is not is
// shown all the same, as a gauge, or as a counter if its name ends in _total.
//
// Figures <name>.bucket with the attribute le, <name>.sum and <name>.count
// together are one histogram.
//
// # Bounds
//
// A scrape never fails for what a figure says. Names and labels that Prometheus
// does not have are mended, values that are not finite are left out, of two
// figures that become one the last counts, and beyond [MaxSeries] series the rest
// is left out and counted in esper_series_dropped.
package leylineprom
