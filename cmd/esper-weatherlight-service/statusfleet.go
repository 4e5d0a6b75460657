package main

import (
	"cmp"
	"maps"
	"slices"
	"time"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
)

// Bounds of what a fleet remembers. Beyond them the process that has been silent
// longest, the oldest step of a process, or a source by name is forgotten.
const (
	maxInstances = 256
	maxSteps     = 120
	maxSources   = 64
)

// fleet is what the packets on the bus said so far. It is pure: it knows the
// time only from what it is told. It is not safe for concurrent use.
type fleet struct {
	instances map[string]*instance
	others    map[string]*source // subsystems other than ours, by name
	signals   int
	signal    lastSignal // the last emergency signal
	forgotten int        // processes beyond maxInstances
}

// source is a subsystem that sends telemetry but is not Weatherlight.
type source struct {
	Packets int
	Seen    time.Time
}

// lastSignal is an emergency signal on the bus.
type lastSignal struct {
	Level  pb.EmergencyLevel
	Reason string
	Origin string
	At     time.Time
}

// instance is one process of the fleet.
type instance struct {
	latest   sample
	steps    []step // oldest first, at most maxSteps
	failures map[string]workerFailure
}

// step is what changed from one packet of a process to the next.
type step struct {
	From, To      time.Time // by the clock of the process
	Prefetches    float64
	Errors        float64 // answers that were library errors
	Refused, Dead map[countKey]float64
	Restarts      map[string]float64 // by worker
	Duration      map[float64]float64
	LatencyMS     float64 // of the newest answer; 0 where none
	Watched       map[string]float64
}

// observe takes one message of the bus.
func (f *fleet) observe(m *oona.Message) {
	switch body := m.Body.(type) {
	case *pb.EmergencySignal:
		f.signals++
		f.signal = lastSignal{body.GetLevel(), body.GetReason(), body.GetOrigin(), m.Arrival}
	case *pb.TelemetryPacket:
		if name := body.GetSourceSubsystem(); name != subsystem {
			f.observeOther(name, m.Arrival)
			return
		}
		f.add(sampleOf(m, body))
	}
}

func (f *fleet) observeOther(name string, at time.Time) {
	s := f.others[name]
	if s == nil {
		if len(f.others) >= maxSources {
			return
		}
		if f.others == nil {
			f.others = make(map[string]*source)
		}
		s = new(source)
		f.others[name] = s
	}
	s.Packets++
	s.Seen = at
}

// add takes a sample. A packet that was seen already, on the other stream or
// because it came late, changes nothing.
func (f *fleet) add(s sample) {
	known := f.instances[s.Instance]
	if known == nil {
		f.makeRoom()
		f.instances[s.Instance] = &instance{latest: s, failures: maps.Clone(s.Failures)}
		return
	}
	if !s.Made.After(known.latest.Made) {
		return
	}
	if len(known.steps) == maxSteps {
		known.steps = slices.Delete(known.steps, 0, 1)
	}
	known.steps = append(known.steps, stepBetween(&known.latest, &s))
	known.latest = s
	for worker, failure := range s.Failures {
		if known.failures == nil {
			known.failures = make(map[string]workerFailure)
		}
		known.failures[worker] = failure
	}
	// Workers come and go at run time; their errors do not pile up.
	maps.DeleteFunc(known.failures, func(worker string, _ workerFailure) bool {
		_, ok := s.Figures["weatherlight.worker."+worker+".running"]
		return !ok
	})
}

// makeRoom forgets the process that has been silent longest, if there are too
// many.
func (f *fleet) makeRoom() {
	if f.instances == nil {
		f.instances = make(map[string]*instance)
	}
	if len(f.instances) < maxInstances {
		return
	}
	oldest := slices.MinFunc(f.sorted(), func(a, b *instance) int {
		return a.latest.Arrived.Compare(b.latest.Arrived)
	})
	delete(f.instances, oldest.latest.Instance)
	f.forgotten++
}

// forget drops processes that have been silent for longer than keep.
func (f *fleet) forget(now time.Time, keep time.Duration) {
	maps.DeleteFunc(f.instances, func(_ string, i *instance) bool {
		return now.Sub(i.latest.Arrived) > keep
	})
}

// sorted returns the processes by name.
func (f *fleet) sorted() []*instance {
	return slices.SortedFunc(maps.Values(f.instances), func(a, b *instance) int {
		return cmp.Compare(a.latest.Instance, b.latest.Instance)
	})
}

// stepBetween compares two samples of one process.
func stepBetween(a, b *sample) step {
	s := step{
		From: a.Made, To: b.Made,
		Prefetches: rise(a.prefetches(), b.prefetches()),
		Errors:     rise(a.figure("urza.prefetch.errors"), b.figure("urza.prefetch.errors")),
		Refused:    rises(a.Refused, b.Refused),
		Dead:       rises(a.Dead, b.Dead),
		Duration:   rises(a.Duration, b.Duration),
		LatencyMS:  b.figure("urza.prefetch.latency_ms"),
		Watched:    watchedRises(a, b),
	}
	for name, after := range b.Figures {
		worker, ok := workerOf(name, ".restarts")
		if !ok {
			continue
		}
		if n := rise(a.figure(name), after); n > 0 {
			addTo(&s.Restarts, worker, n)
		}
	}
	return s
}

// rise is how much a counter rose; one that fell was started anew.
func rise(before, after float64) float64 {
	if after < before {
		return after
	}
	return after - before
}

// rises returns those counters that rose, and by how much.
func rises[K comparable](before, after map[K]float64) map[K]float64 {
	var risen map[K]float64
	for key, value := range after {
		if n := rise(before[key], value); n > 0 {
			addTo(&risen, key, n)
		}
	}
	return risen
}

// interval is the usual time between two packets of the process, and at least
// the given one: some packets come early, because health changed.
func (i *instance) interval(least time.Duration) time.Duration {
	if len(i.steps) == 0 {
		return least
	}
	gaps := make([]time.Duration, 0, 8)
	for _, s := range i.steps[max(0, len(i.steps)-8):] {
		gaps = append(gaps, s.To.Sub(s.From))
	}
	slices.Sort(gaps)
	return max(least, gaps[len(gaps)/2])
}

// within returns the steps of the last window, by the clock of the process, and
// how long they took together.
func (i *instance) within(window time.Duration) (steps []step, took time.Duration) {
	from := len(i.steps)
	for from > 0 && i.latest.Made.Sub(i.steps[from-1].From) <= window {
		from--
	}
	if from == len(i.steps) && from > 0 {
		from-- // packets further apart than the window
	}
	steps = i.steps[from:]
	for _, s := range steps {
		took += s.To.Sub(s.From)
	}
	return steps, took
}
