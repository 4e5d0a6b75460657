package leylineprom

import (
	"strings"

	"github.com/esper-lite/esper/leyline"
)

// Kind says how a figure behaves.
type Kind uint8

const (
	// Gauge goes up and down.
	Gauge Kind = iota
	// Counter only rises, until the process starts anew.
	Counter
	// Histogram is a set of buckets with sum and count.
	Histogram
)

// Family is a figure, or many figures that differ in one part of their name, and
// what Prometheus calls it.
type Family struct {
	// Figure is the dotted name. A part in braces stands for any text and
	// becomes the label of that name.
	Figure string
	// Name is the name of the metric.
	Name string
	Kind Kind
	Help string

	unit   string
	prefix string // before the braces
	label  string // within them, "" where there are none
	suffix string // behind them
}

// Families returns every figure that is known, by subsystem.
func Families() []Family { return append([]Family(nil), families...) }

// known and patterns are families by name, and those with a label in the order
// of the table.
var known, patterns = index()

func index() (map[string]*Family, []*Family) {
	byName := make(map[string]*Family, len(families))
	var labelled []*Family
	for i := range families {
		if f := &families[i]; f.label == "" {
			byName[f.Figure] = f
		} else {
			labelled = append(labelled, f)
		}
	}
	return byName, labelled
}

// Lookup returns the family that a figure belongs to, and false for one that is
// not known.
func Lookup(figure string) (Family, bool) {
	f, _ := lookup(figure)
	if f == nil {
		return Family{}, false
	}
	return *f, true
}

// lookup returns the family of a figure and the value of its label.
func lookup(figure string) (f *Family, value string) {
	if f := known[figure]; f != nil {
		return f, ""
	}
	for _, f := range patterns {
		if rest, ok := strings.CutPrefix(figure, f.prefix); ok {
			if value, ok := strings.CutSuffix(rest, f.suffix); ok && value != "" {
				return f, value
			}
		}
	}
	return nil, ""
}

// family completes one line of the table.
func family(figure string, kind Kind, unit, help string) Family {
	f := Family{Figure: figure, Kind: kind, Help: help, unit: unit}
	f.prefix = figure
	if before, rest, ok := strings.Cut(figure, "{"); ok {
		f.prefix = before
		f.label, f.suffix, _ = strings.Cut(rest, "}")
	}
	f.Name = metricName(strings.TrimRight(f.prefix, "._")+f.suffix, kind, unit)
	return f
}

// as gives a family another name than the usual one.
func (f Family) as(name string) Family {
	f.Name = name
	return f
}

// unknown is the family of a figure that the table does not have.
func unknown(m leyline.Metric) *Family {
	kind := Gauge
	if strings.HasSuffix(m.Name, "_total") {
		kind = Counter
	}
	f := family(withoutBraces.Replace(m.Name), kind, m.Unit, "Figure "+strings.ToValidUTF8(m.Name, "?")+" of Esper's telemetry.")
	return &f
}

// unknownHistogram is the family of buckets that the table does not have.
func unknownHistogram(base string) *Family {
	unit := leyline.UnitCount
	if strings.HasSuffix(base, "_ms") {
		unit = leyline.UnitMillis
	}
	f := family(withoutBraces.Replace(base), Histogram, unit, "Histogram "+strings.ToValidUTF8(base, "?")+" of Esper's telemetry.")
	return &f
}

var withoutBraces = strings.NewReplacer("{", "_", "}", "_")

// metricName is the usual name of a metric: base units, and _total for counters.
func metricName(figure string, kind Kind, unit string) string {
	name := strings.TrimSuffix(figure, "_total")
	switch unit {
	case leyline.UnitMillis:
		name = strings.TrimSuffix(name, "_ms") + "_seconds"
	case leyline.UnitSeconds:
		name = strings.TrimSuffix(strings.TrimSuffix(name, "_s"), "_seconds") + "_seconds"
	case leyline.UnitUnix:
		name = strings.TrimSuffix(strings.TrimSuffix(name, "_ts"), "_at") + "_timestamp_seconds"
	case leyline.UnitBytes:
		name = strings.TrimRight(strings.TrimSuffix(name, "bytes"), "._") + "_bytes"
	}
	if kind == Counter {
		name += "_total"
	}
	return "esper_" + mended(name)
}

// mended replaces what a name must not have.
func mended(name string) string {
	mapped := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' {
			return r
		}
		return '_'
	}, name)
	for strings.Contains(mapped, "__") {
		mapped = strings.ReplaceAll(mapped, "__", "_")
	}
	return strings.Trim(mapped, "_")
}

// scale converts a value to the base unit.
func scale(unit string) float64 {
	if unit == leyline.UnitMillis {
		return 1e-3
	}
	return 1
}
