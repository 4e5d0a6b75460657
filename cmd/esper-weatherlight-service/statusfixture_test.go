package main

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
)

// story is a fleet whose packets are made by hand, after the contract.
type story struct {
	fleet fleet
	now   time.Time
	procs []*told
}

// told is one process of a story: the figures of its next packet.
type told struct {
	instance string
	figures  map[string]float64
	buckets  map[string]float64 // of the duration, cumulative, by bound
	counts   map[countKey]float64
	dead     map[countKey]float64
	status   pb.HealthStatus
	summary  string
	errors   map[string]string // by worker
	policy   string
	mute     bool
}

var storyStart = time.Date(2025, 9, 25, 12, 0, 0, 0, time.UTC)

func newStory(instances ...string) *story {
	s := &story{now: storyStart}
	for _, name := range instances {
		s.procs = append(s.procs, &told{
			instance: name,
			figures: map[string]float64{
				"weatherlight.tasks.running": 2, "weatherlight.restarts_total": 0,
				"weatherlight.worker.urza_prefetch.running": 1, "weatherlight.worker.urza_prefetch.restarts": 0,
				"weatherlight.worker.tamiyo_policy.running": 1, "weatherlight.worker.tamiyo_policy.restarts": 0,
				"urza.prefetch.latency_ms":               0.4,
				"slo.urza_prefetch_latency_ms_actual":    0.9,
				"slo.urza_prefetch_latency_ms_objective": 200,
			},
			buckets: map[string]float64{"1": 0, "2": 0, "5": 0, "+Inf": 0},
			counts:  make(map[countKey]float64),
			dead:    make(map[countKey]float64),
			status:  pb.HealthStatus_HEALTH_STATUS_HEALTHY,
			summary: "steady",
			policy:  "v7",
		})
	}
	return s
}

// tick lets ten seconds pass, in which each process answers n requests and sends
// a packet.
func (s *story) tick(n float64) {
	s.now = s.now.Add(10 * time.Second)
	for _, p := range s.procs {
		p.figures["weatherlight.uptime_s"] += 10
		p.figures["urza.prefetch.hits"] += n
		p.buckets["1"] += n * 0.6
		p.buckets["2"] += n * 0.9
		p.buckets["5"] += n
		p.buckets["+Inf"] += n
		if !p.mute {
			s.fleet.observe(&oona.Message{Arrival: s.now, Body: p.packet(s.now)})
		}
	}
}

func (s *story) ticks(times int, n float64) {
	for range times {
		s.tick(n)
	}
}

func (s *story) view() fleetView {
	return s.fleet.view(s.now.Add(2*time.Second), 10*time.Second, busView{Address: "redis.example:6379", Reachable: true}, queueReading{})
}

func (p *told) packet(at time.Time) *pb.TelemetryPacket {
	packet := &pb.TelemetryPacket{
		SourceSubsystem: subsystem,
		Timestamp:       timestamppb.New(at),
		SystemHealth: &pb.SystemHealth{Status: p.status, Summary: p.summary, Indicators: map[string]string{
			"instance": p.instance,
		}},
	}
	for name, value := range p.figures {
		packet.Metrics = append(packet.Metrics, &pb.MetricPoint{Name: name, Value: value})
	}
	if p.policy != "" {
		packet.Metrics = append(packet.Metrics, &pb.MetricPoint{
			Name: "tamiyo.policy.active", Value: 1, Attributes: map[string]string{"tamiyo_policy_version": p.policy, "policy_id": "p"},
		})
	}
	for bound, n := range p.buckets {
		packet.Metrics = append(packet.Metrics, &pb.MetricPoint{Name: figureDuration + suffixBucket, Value: n, Attributes: map[string]string{attributeBound: bound}})
	}
	for prefix, counts := range map[string]map[countKey]float64{"oona.refused.": p.counts, "oona.dead_lettered.": p.dead} {
		for key, n := range counts {
			packet.Metrics = append(packet.Metrics, &pb.MetricPoint{
				Name: prefix + key.Reason, Value: n, Attributes: map[string]string{"stream": key.Stream, "type": key.Type},
			})
		}
	}
	for worker, text := range p.errors {
		packet.Events = append(packet.Events, &pb.TelemetryEvent{
			Description: "worker_error", Attributes: map[string]string{"worker": worker, "error": text},
		})
	}
	return packet
}

// stories are what an operator may have to recognise.
var stories = map[string]func() *story{
	"steady": func() *story {
		s := newStory("alpha-0123456789ab", "beta-ba9876543210")
		s.ticks(12, 3124)
		return s
	},
	"crash loop": func() *story {
		s := newStory("alpha-0123456789ab", "beta-ba9876543210")
		s.ticks(6, 3124)
		p := s.procs[0]
		for range 6 {
			p.status, p.summary = pb.HealthStatus_HEALTH_STATUS_DEGRADED, "backoff"
			p.figures["weatherlight.restarts_total"] += 2
			p.figures["weatherlight.tasks.running"] = 1
			p.figures["weatherlight.worker.tamiyo_policy.running"] = 0
			p.figures["weatherlight.worker.tamiyo_policy.restarts"] += 2
			p.figures["weatherlight.worker.tamiyo_policy.backoff_seconds"] = 7.5
			p.errors = map[string]string{"tamiyo_policy": "tamiyo: store policy: write var/tamiyo/policies/current: no space left on device"}
			s.tick(3124)
		}
		return s
	},
	"forged": func() *story {
		s := newStory("alpha-0123456789ab")
		s.ticks(6, 3124)
		for range 6 {
			s.procs[0].counts[countKey{"oona.kernels.requests", "UNSPECIFIED", "bad_signature"}] += 100_000
			s.tick(3124)
		}
		return s
	},
	"dead letter": func() *story {
		s := newStory("alpha-0123456789ab")
		s.ticks(6, 3124)
		s.procs[0].dead[countKey{"oona.kernels.requests", "KERNEL_PREFETCH_REQUEST", "attempts_exhausted"}]++
		s.tick(3124)
		return s
	},
	"killed": func() *story {
		s := newStory("alpha-0123456789ab", "beta-ba9876543210")
		s.ticks(6, 3124)
		s.procs[1].mute = true
		s.ticks(5, 3124)
		return s
	},
	"late": func() *story {
		s := newStory("alpha-0123456789ab", "beta-ba9876543210")
		s.ticks(6, 3124)
		s.fleet.observe(&oona.Message{Arrival: s.now.Add(10 * time.Second), Body: s.procs[0].packet(s.now.Add(10 * time.Second))})
		s.now = s.now.Add(16 * time.Second)
		return s
	},
	"stopped": func() *story {
		s := newStory("alpha-0123456789ab", "beta-ba9876543210")
		s.ticks(6, 3124)
		s.procs[1].summary = summaryShutdown
		s.tick(3124)
		s.procs[1].mute = true
		s.ticks(5, 3124)
		return s
	},
	"all stopped": func() *story {
		s := newStory("alpha-0123456789ab", "beta-ba9876543210")
		s.ticks(6, 3124)
		s.procs[1].summary = summaryShutdown
		s.tick(3124)
		s.procs[0].summary, s.procs[1].mute = summaryShutdown, true
		s.tick(3124)
		return s
	},
	"nobody": func() *story { return newStory() },
	"halt": func() *story {
		s := newStory("alpha-0123456789ab")
		s.ticks(6, 3124)
		p := s.procs[0]
		p.status, p.summary = pb.HealthStatus_HEALTH_STATUS_UNHEALTHY, "emergency_halt"
		p.figures["weatherlight.emergency.detections_total"] = 1
		p.figures["weatherlight.emergency.last_level"] = 4
		p.figures["weatherlight.emergency.last_detect_ms_ago"] = 500
		s.fleet.observe(&oona.Message{Arrival: s.now.Add(9500 * time.Millisecond), Body: &pb.EmergencySignal{
			Level: pb.EmergencyLevel_EMERGENCY_LEVEL_HALT, Reason: "loss is not finite", Origin: "tolaria",
		}})
		s.tick(3124)
		return s
	},
	"slow": func() *story {
		s := newStory("alpha-0123456789ab")
		s.ticks(6, 3124)
		s.procs[0].figures["slo.urza_prefetch_latency_ms_objective"] = 1
		s.procs[0].figures["urza.library.breaker_state"] = 2
		s.procs[0].figures["urza.library.integrity_failures"] = 3
		s.tick(3124)
		s.procs[0].figures["urza.library.integrity_failures"] = 5
		s.tick(3124)
		return s
	},
}
