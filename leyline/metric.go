package leyline

import "github.com/esper-lite/esper/leyline/leylinepb"

// Units that the contract uses (section 5).
const (
	UnitCount   = "count"
	UnitMillis  = "ms"
	UnitSeconds = "seconds"
	UnitUnix    = "unix_s"
	UnitBool    = "bool"
	UnitBytes   = "bytes"
)

// Metric is one figure of a package at one moment: the MetricPoint of the
// contract, without its allocation. Every package reports its figures by a
// method AppendMetrics(dst []Metric) []Metric; telemetry packets and the
// metrics page are two views of the same slice.
type Metric struct {
	Name       string // dotted, such as urza.prefetch.hits: contract section 5
	Value      float64
	Unit       string            // one of the Unit constants
	Attributes map[string]string // nil for most; read-only once appended
}

// Point returns m as the message that travels in a telemetry packet.
func (m Metric) Point() *leylinepb.MetricPoint {
	return &leylinepb.MetricPoint{Name: m.Name, Value: m.Value, Unit: m.Unit, Attributes: m.Attributes}
}
