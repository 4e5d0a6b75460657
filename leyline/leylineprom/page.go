package leylineprom

import (
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/esper-lite/esper/leyline"
)

// page is what one scrape shows.
type page struct {
	series     map[string]*series // by name and labels
	names      map[string]*Family // which family a name belongs to
	histograms map[string]*Family // by the name of the figure
	dropped    int
}

// newPage knows which figures are histograms before it is told the first one.
func newPage(groups []Group) *page {
	p := &page{make(map[string]*series), make(map[string]*Family), make(map[string]*Family), 0}
	for _, g := range groups {
		for _, m := range g.Figures {
			base, ok := strings.CutSuffix(m.Name, partBucket)
			if !ok || base == "" || m.Attributes[attributeBound] == "" || p.histograms[base] != nil {
				continue
			}
			f, _ := lookup(base)
			if f == nil || f.Kind != Histogram {
				f = unknownHistogram(base)
			}
			p.histograms[base] = f
		}
	}
	return p
}

// add adds one figure.
func (p *page) add(m leyline.Metric, labels map[string]string) {
	if math.IsNaN(m.Value) || math.IsInf(m.Value, 0) {
		return
	}
	f, part := p.histogramOf(m)
	which := ""
	if f == nil {
		f, which = lookup(m.Name)
	}
	if f == nil || part == "" && f.Kind == Histogram {
		f = unknown(m)
	}
	if !p.mayBe(f) {
		p.dropped++
		return
	}
	s := p.at(f, labelsOf(f, which, part, m.Attributes, labels))
	if s == nil {
		p.dropped++
		return
	}
	s.set(part, m)
}

// histogramOf returns the histogram that a figure is a part of; nil for none.
func (p *page) histogramOf(m leyline.Metric) (f *Family, part string) {
	for _, part := range []string{partBucket, partSum, partCount} {
		base, ok := strings.CutSuffix(m.Name, part)
		if ok && p.histograms[base] != nil && (part != partBucket || m.Attributes[attributeBound] != "") {
			return p.histograms[base], part
		}
	}
	return nil, ""
}

// mayBe reports whether the family may have its name: another kind of figure may
// have come to the same one, or to one that Prometheus cannot tell from it.
func (p *page) mayBe(f *Family) bool {
	if other, ok := p.names[f.Name]; ok {
		return other.Kind == f.Kind && other.Help == f.Help
	}
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if base, ok := strings.CutSuffix(f.Name, suffix); ok && p.isHistogram(base) {
			return false
		}
		if _, ok := p.names[f.Name+suffix]; ok && f.Kind == Histogram {
			return false
		}
	}
	p.names[f.Name] = f
	return true
}

func (p *page) isHistogram(name string) bool {
	f := p.names[name]
	return f != nil && f.Kind == Histogram
}

// at returns the series with these labels; nil where there are too many.
func (p *page) at(f *Family, labels map[string]string) *series {
	names := slices.Sorted(maps.Keys(labels))
	var key strings.Builder
	key.WriteString(f.Name)
	for _, name := range names {
		key.WriteString("\x00" + name + "\x00" + labels[name])
	}
	s := p.series[key.String()]
	if s != nil {
		return s
	}
	if len(p.series) >= MaxSeries {
		return nil
	}
	s = &series{family: f, names: names}
	for _, name := range names {
		s.values = append(s.values, labels[name])
	}
	p.series[key.String()] = s
	return s
}

// maxLabel bounds the value of a label.
const maxLabel = 200

// labelsOf joins the label in the figure's name, its attributes and those of its
// group, which win.
func labelsOf(f *Family, which, part string, attributes, group map[string]string) map[string]string {
	labels := make(map[string]string, 1+len(attributes)+len(group))
	put := func(name, value string) {
		value = strings.ToValidUTF8(value, "?")
		labels[labelName(name)] = strings.ToValidUTF8(value[:min(len(value), maxLabel)], "")
	}
	for name, value := range attributes {
		if part == "" || name != attributeBound {
			put(name, value)
		}
	}
	if f.label != "" {
		put(f.label, which)
	}
	for name, value := range group {
		put(name, value)
	}
	return labels
}

func labelName(name string) string {
	name = mended(name)
	if name == "" || name[0] >= '0' && name[0] <= '9' {
		return "attribute_" + name
	}
	return name
}
