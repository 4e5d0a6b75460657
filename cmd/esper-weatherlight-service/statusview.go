package main

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

// rateWindow is the time over which rates, percentiles and news are taken.
const rateWindow = time.Minute

// fleetView is the fleet at one moment, as status shows it: the JSON document,
// and all that the tables and the live view draw. Times are by the clock of
// Redis, rates per second over the last minute; a figure that nobody told is
// null.
type fleetView struct {
	At          time.Time      `json:"at"`
	Health      string         `json:"health"` // of the worst: healthy, degraded, unhealthy, critical
	Problems    []problem      `json:"problems"`
	Bus         busView        `json:"bus"`
	Instances   []instanceView `json:"instances"`
	Workers     []workerView   `json:"workers"`
	Prefetch    prefetchView   `json:"prefetch"`
	Queues      []queueView    `json:"queues"`
	Refusals    []refusalView  `json:"refusals"`
	DeadLetters deadView       `json:"dead_letters"`
	Seeds       []seedView     `json:"seeds"`
	Policies    []policyView   `json:"policies"`
	Emergency   emergencyView  `json:"emergency"`
	Others      []sourceView   `json:"other_sources"`
	Forgotten   int            `json:"instances_not_shown,omitempty"`

	watched map[string]*watched // what watched figures say, by name
	series  series
}

// busView is the bus as this process sees it.
type busView struct {
	Address   string  `json:"address"`
	Reachable bool    `json:"reachable"`
	Error     string  `json:"error,omitempty"`
	AwayS     float64 `json:"away_seconds,omitempty"`
	// Unverified is how many messages on the streams that status reads were
	// refused by it: they were signed with another secret, or not at all. It is
	// 0 again when there were no more of them for as long as is looked back.
	Unverified int `json:"unverified_messages"`

	window time.Duration // how far is looked back
}

// instanceView is one process.
type instanceView struct {
	Instance    string   `json:"instance"`
	Health      string   `json:"health"` // as it says itself, or late, silent or stopped
	Summary     string   `json:"summary"`
	SeenAgoS    float64  `json:"seen_seconds_ago"`
	IntervalS   float64  `json:"interval_seconds"`
	UptimeS     *float64 `json:"uptime_seconds"`
	Running     int      `json:"workers_running"`
	Workers     int      `json:"workers"`
	Restarts    float64  `json:"restarts_total"`
	RatePerS    float64  `json:"prefetches_per_second"`
	LatencyMS   *float64 `json:"latency_ms"`
	P95MS       *float64 `json:"latency_p95_ms"`
	LastErrorAt string   `json:"last_error_at,omitempty"`

	series  series
	latency prefetchView // its percentiles
}

// prefetchView is the main job, over all processes. A hit was answered with a
// kernel, a miss with the error missing_artifact, and what is counted as an error
// with any other one, a library error.
type prefetchView struct {
	RatePerS    float64  `json:"prefetches_per_second"`
	ErrorsPerS  float64  `json:"errors_per_second"`
	Hits        float64  `json:"hits_total"`
	Misses      float64  `json:"misses_total"`
	Errors      float64  `json:"errors_total"`
	P50MS       *float64 `json:"latency_p50_ms"`
	P95MS       *float64 `json:"latency_p95_ms"`
	P99MS       *float64 `json:"latency_p99_ms"`
	ObjectiveMS *float64 `json:"latency_objective_ms"`
}

// refusalView is a counter of messages that were not handled.
type refusalView struct {
	Reason string  `json:"reason"`
	Stream string  `json:"stream"`
	Total  float64 `json:"total"`
	Recent float64 `json:"last_minute"`
}

// deadView is the dead letters.
type deadView struct {
	Waiting *int64        `json:"waiting"` // that lie in the stream
	Reasons []refusalView `json:"reasons"`
}

// seedView is how many seeds are in a stage.
type seedView struct {
	Stage string  `json:"stage"`
	Seeds float64 `json:"seeds"`
}

// policyView is a policy version and who runs it.
type policyView struct {
	Version   string   `json:"version"`
	Instances []string `json:"instances"`
}

// emergencyView is what is known of emergency signals.
type emergencyView struct {
	Detections float64  `json:"detections_total"` // the most that one process has counted
	Level      string   `json:"last_level,omitempty"`
	AgoS       *float64 `json:"last_seconds_ago"`
	Reason     string   `json:"reason,omitempty"`
	Origin     string   `json:"origin,omitempty"`
	Active     bool     `json:"active"` // health shows it
}

// sourceView is another subsystem that sends telemetry.
type sourceView struct {
	Source   string  `json:"source"`
	Packets  int     `json:"packets"`
	SeenAgoS float64 `json:"seen_seconds_ago"`
}

// view returns the fleet at a moment. interval is the least time between two
// packets that processes are expected to keep.
func (f *fleet) view(now time.Time, interval time.Duration, bus busView, queues queueReading) fleetView {
	v := fleetView{
		At: now, Bus: bus, Forgotten: f.forgotten, watched: make(map[string]*watched),
		Problems: []problem{}, Instances: []instanceView{}, Workers: []workerView{}, Refusals: []refusalView{},
		Seeds: []seedView{}, Policies: []policyView{}, Others: []sourceView{},
	}
	refused, dead := newTally(), newTally()
	latency := newPercentiles()
	for _, i := range f.sorted() {
		one := i.view(now, interval)
		v.Instances = append(v.Instances, one)
		if one.Health != healthStopped {
			v.Workers = append(v.Workers, i.workers(now, one.Health)...)
		}
		if one.alive() {
			v.Prefetch.add(i, one)
			latency.add(i)
			i.watch(v.watched)
			refused.add(i, i.latest.Refused, func(s step) map[countKey]float64 { return s.Refused })
			dead.add(i, i.latest.Dead, func(s step) map[countKey]float64 { return s.Dead })
		}
	}
	slices.SortStableFunc(v.Instances, byName)
	latency.into(&v.Prefetch)
	v.Refusals, v.DeadLetters.Reasons = refused.rows(), dead.rows()
	v.Seeds, v.Policies = f.seeds(now, interval), f.policies(now, interval)
	v.Emergency = f.emergency(now)
	v.Queues, v.DeadLetters.Waiting = f.queues(queues)
	for _, name := range slices.Sorted(maps.Keys(f.others)) {
		s := f.others[name]
		v.Others = append(v.Others, sourceView{printable(name), s.Packets, now.Sub(s.Seen).Seconds()})
	}
	v.series = f.series(now, interval)
	v.Problems = diagnose(&v)
	v.Health = worstHealth(v.Problems)
	return v
}

// Words for processes that no longer say how they are.
const (
	healthLate    = "late"    // was healthy; no packet for one and a half intervals
	healthSilent  = "silent"  // no packet for three intervals
	healthStopped = "stopped" // stopped in order
)

// byName orders processes, those that stopped last.
func byName(a, b instanceView) int {
	if stopped := a.Health == healthStopped; stopped != (b.Health == healthStopped) {
		if stopped {
			return 1
		}
		return -1
	}
	return cmp.Compare(a.Instance, b.Instance)
}

// alive reports whether the process is there.
func (v *instanceView) alive() bool { return v.Health != healthSilent && v.Health != healthStopped }

// How many intervals a process may say nothing: until it is late, which may pass,
// and until nobody counts on it any more.
const (
	late    = 1.5
	overdue = 3
)

// late reports whether a packet of the process should have come by now.
func (v *instanceView) late() bool { return v.alive() && v.SeenAgoS > late*v.IntervalS }

// health is how a process is, in one word. That it is late hides nothing worse
// that it said of itself.
func (i *instance) health(now time.Time, interval time.Duration) string {
	age, every := now.Sub(i.latest.Arrived), i.interval(interval)
	switch {
	case i.latest.Summary == summaryShutdown:
		return healthStopped
	case age > overdue*every:
		return healthSilent
	case age.Seconds() > late*every.Seconds() && i.latest.Health == pb.HealthStatus_HEALTH_STATUS_HEALTHY:
		return healthLate
	}
	return healthName(i.latest.Health)
}

func (i *instance) view(now time.Time, interval time.Duration) instanceView {
	s := &i.latest
	v := instanceView{
		Instance:  printable(s.Instance),
		Health:    i.health(now, interval),
		Summary:   printable(s.Summary),
		SeenAgoS:  max(0, now.Sub(s.Arrived).Seconds()),
		IntervalS: i.interval(interval).Seconds(),
		UptimeS:   known(s.Figures, "weatherlight.uptime_s"),
		Running:   int(s.figure("weatherlight.tasks.running")),
		Restarts:  s.figure("weatherlight.restarts_total"),
		LatencyMS: known(s.Figures, "urza.prefetch.latency_ms"),
	}
	if at := s.figure("weatherlight.last_error_ts"); at > 0 {
		v.LastErrorAt = time.UnixMilli(int64(at * 1000)).UTC().Format(time.RFC3339)
	}
	for name := range s.Figures {
		if _, ok := workerOf(name, ".running"); ok {
			v.Workers++
		}
	}
	steps, took := i.within(rateWindow)
	for _, st := range steps {
		v.RatePerS += st.Prefetches
	}
	if v.RatePerS = perSecond(v.RatePerS, took); !v.alive() {
		v.RatePerS = 0
	}
	latency := newPercentiles()
	latency.add(i)
	latency.into(&v.latency)
	v.P95MS = v.latency.P95MS
	v.series = seriesOf([]*instance{i}, s.Arrived, i.interval(interval))
	return v
}

// seeds counts the seeds of all processes by stage, in the order of a life.
func (f *fleet) seeds(now time.Time, interval time.Duration) []seedView {
	views := []seedView{}
	for n := range pb.SeedLifecycleStage_name {
		if n == 0 {
			continue
		}
		stage := strings.ToLower(strings.TrimPrefix(pb.SeedLifecycleStage(n).String(), "SEED_STAGE_"))
		sum := 0.0
		for _, i := range f.instances {
			if i.health(now, interval) != healthStopped {
				sum += i.latest.figure("kasmina.seeds." + stage)
			}
		}
		if sum > 0 {
			views = append(views, seedView{stage, sum})
		}
	}
	slices.SortFunc(views, func(a, b seedView) int { return cmp.Compare(stageOrder(a.Stage), stageOrder(b.Stage)) })
	return views
}

func stageOrder(stage string) int32 {
	return pb.SeedLifecycleStage_value["SEED_STAGE_"+strings.ToUpper(stage)]
}

// policies says who runs which policy.
func (f *fleet) policies(now time.Time, interval time.Duration) []policyView {
	by := make(map[string][]string)
	for _, i := range f.sorted() {
		if h := i.health(now, interval); h == healthStopped || h == healthSilent {
			continue
		}
		versions := i.latest.Policies
		if active := known(i.latest.Figures, "tamiyo.policy.active"); active != nil && *active == 0 {
			versions = []string{"none"}
		}
		for _, version := range versions {
			if name := printable(i.latest.Instance); !slices.Contains(by[version], name) {
				by[version] = append(by[version], name)
			}
		}
	}
	views := []policyView{}
	for _, version := range slices.Sorted(maps.Keys(by)) {
		views = append(views, policyView{printable(version), by[version]})
	}
	return views
}

// emergency joins what processes report with the signal itself, if it was seen.
func (f *fleet) emergency(now time.Time) emergencyView {
	var v emergencyView
	for _, i := range f.instances {
		s := &i.latest
		if n := s.figure("weatherlight.emergency.detections_total"); n > v.Detections {
			v.Detections = n
			v.Level = emergencyLevel(pb.EmergencyLevel(s.figure("weatherlight.emergency.last_level")))
		}
		if ms := known(s.Figures, "weatherlight.emergency.last_detect_ms_ago"); ms != nil {
			ago := *ms/1000 + max(0, now.Sub(s.Arrived).Seconds())
			if v.AgoS == nil || ago < *v.AgoS {
				v.AgoS = &ago
			}
		}
		if strings.HasPrefix(s.Summary, "emergency_") && now.Sub(s.Arrived) < rateWindow {
			v.Active = true
		}
	}
	if f.signals > 0 {
		v.Detections = max(v.Detections, float64(f.signals))
		v.Level = emergencyLevel(f.signal.Level)
		v.AgoS = new(max(0, now.Sub(f.signal.At).Seconds()))
		v.Reason, v.Origin = printable(f.signal.Reason), printable(f.signal.Origin)
	}
	return v
}

func emergencyLevel(l pb.EmergencyLevel) string {
	return strings.ToLower(strings.TrimPrefix(l.String(), "EMERGENCY_LEVEL_"))
}
