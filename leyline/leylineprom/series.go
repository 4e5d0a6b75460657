package leylineprom

import (
	"math"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/esper-lite/esper/leyline"
)

// Parts of a histogram, as figures.
const (
	partBucket     = ".bucket"
	partSum        = ".sum"
	partCount      = ".count"
	attributeBound = "le"
)

// series is one line of the page, or all lines of one histogram.
type series struct {
	family  *Family
	names   []string // of the labels, sorted
	values  []string
	value   float64
	buckets map[float64]uint64
	sum     float64
	count   uint64
}

// set takes in the value of a figure. Of two the last counts.
func (s *series) set(part string, m leyline.Metric) {
	switch part {
	case "":
		s.value = m.Value * scale(s.family.unit)
	case partSum:
		s.sum = m.Value * scale(s.family.unit)
	case partCount:
		s.count = whole(m.Value)
	case partBucket:
		bound, err := strconv.ParseFloat(m.Attributes[attributeBound], 64)
		if err != nil || math.IsNaN(bound) {
			return
		}
		if math.IsInf(bound, 1) {
			s.count = max(s.count, whole(m.Value))
			return
		}
		if s.buckets == nil {
			s.buckets = make(map[float64]uint64)
		}
		s.buckets[bound*scale(s.family.unit)] = whole(m.Value)
	}
}

func whole(v float64) uint64 { return uint64(min(max(v, 0), 1<<62)) }

// metric returns the series for the page; nil if it cannot be shown.
func (s *series) metric() prometheus.Metric {
	desc := prometheus.NewDesc(s.family.Name, s.family.Help, s.names, nil)
	var m prometheus.Metric
	var err error
	switch s.family.Kind {
	case Histogram:
		m, err = prometheus.NewConstHistogram(desc, s.count, s.sum, s.buckets, s.values...)
	case Counter:
		m, err = prometheus.NewConstMetric(desc, prometheus.CounterValue, s.value, s.values...)
	default:
		m, err = prometheus.NewConstMetric(desc, prometheus.GaugeValue, s.value, s.values...)
	}
	if err != nil {
		return nil
	}
	return m
}
