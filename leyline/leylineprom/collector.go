package leylineprom

import (
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/esper-lite/esper/leyline"
)

// MaxSeries is how many series one scrape shows.
const MaxSeries = 20_000

// Source reports figures: every package of Esper has one. AppendMetrics must be
// safe for concurrent use.
type Source interface {
	AppendMetrics(dst []leyline.Metric) []leyline.Metric
}

// Group is figures that share labels: those of one process, as a receiver of
// telemetry holds them.
type Group struct {
	Labels  map[string]string
	Figures []leyline.Metric
}

// Collector is a [prometheus.Collector] over figures. It is safe for concurrent
// use; each scrape asks the sources anew.
type Collector struct {
	groups func() []Group
}

// NewCollector returns a collector of what the sources report.
func NewCollector(sources ...Source) *Collector {
	sources = slices.Clone(sources)
	return NewGroupCollector(func() []Group {
		var figures []leyline.Metric
		for _, s := range sources {
			figures = s.AppendMetrics(figures)
		}
		return []Group{{Figures: figures}}
	})
}

// NewGroupCollector returns a collector of what groups returns, which is called
// for each scrape and must be safe for concurrent use.
func NewGroupCollector(groups func() []Group) *Collector { return &Collector{groups} }

// Describe sends nothing: which figures there are changes at run time.
func (c *Collector) Describe(chan<- *prometheus.Desc) {}

// Collect sends every figure.
func (c *Collector) Collect(out chan<- prometheus.Metric) {
	groups := c.groups()
	p := newPage(groups)
	for _, g := range groups {
		for _, m := range g.Figures {
			p.add(m, g.Labels)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(p.series)) {
		if m := p.series[key].metric(); m != nil {
			out <- m
		}
	}
	out <- prometheus.MustNewConstMetric(droppedDesc, prometheus.GaugeValue, float64(p.dropped))
}

var droppedDesc = prometheus.NewDesc("esper_series_dropped", "Series left out of this page: too many, or of two kinds under one name.", nil, nil)
