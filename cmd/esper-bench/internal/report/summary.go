package report

import (
	"time"

	"github.com/esper-lite/esper/cmd/esper-bench/internal/workload"
)

// Rounds holds the measurements of one workload, by contender, round by round.
type Rounds[T any] struct {
	names []string
	runs  map[string][]T
}

// Add adds a round's measurement.
func (r *Rounds[T]) Add(name string, run T) {
	if r.runs == nil {
		r.runs = make(map[string][]T)
	}
	if _, ok := r.runs[name]; !ok {
		r.names = append(r.names, name)
	}
	r.runs[name] = append(r.runs[name], run)
}

// over returns the median over the rounds of one figure.
func over[T any](runs []T, figure func(T) float64) float64 {
	values := make([]float64, len(runs))
	for i, run := range runs {
		values[i] = figure(run)
	}
	return Median(values)
}

// ratio returns the median of the ratios within each round, zero where the other
// was not measured.
func ratio[T any](runs, others []T, figure func(T) float64) float64 {
	var values []float64
	for i := range min(len(runs), len(others)) {
		values = append(values, figure(runs[i])/figure(others[i]))
	}
	return Median(values)
}

// perMillion returns seconds per million prefetches.
func perMillion(d time.Duration, prefetches int) float64 {
	return d.Seconds() / float64(prefetches) * 1e6
}

// Rates summarizes throughput.
func Rates(r Rounds[workload.Throughput]) []Rate {
	type run = workload.Throughput
	speed := run.PerSecond
	thrift := func(t run) float64 { return 1 / perMillion(t.CPU(), t.Prefetches) }
	var rates []Rate
	for _, name := range r.names {
		runs := r.runs[name]
		rate := Rate{
			Name:           name,
			PerSecond:      over(runs, speed),
			VsFloor:        ratio(runs, r.runs["floor"], speed),
			VsFloorPlus:    ratio(runs, r.runs["floor+"], speed),
			CPUVsFloor:     ratio(runs, r.runs["floor"], thrift),
			CPUVsFloorPlus: ratio(runs, r.runs["floor+"], thrift),
			VsPeers:        make(map[string]float64),
			ServiceCPU:     over(runs, func(t run) float64 { return perMillion(t.Service.CPU, t.Prefetches) }),
			PublisherCPU:   over(runs, func(t run) float64 { return perMillion(t.Publisher, t.Prefetches) }),
			RedisCPU:       over(runs, func(t run) float64 { return perMillion(t.Redis, t.Prefetches) }),
			FollowerCPU:    over(runs, func(t run) float64 { return perMillion(t.Followers.CPU, t.Prefetches) }),
			Allocs:         over(runs, func(t run) float64 { return t.Each(t.Service.Mallocs) }),
			Bytes:          over(runs, func(t run) float64 { return t.Each(t.Service.Bytes) }),
			GCs:            over(runs, func(t run) float64 { return t.Each(t.Service.GCs) * 1e6 }),
			Resident:       int64(over(runs, func(t run) float64 { return float64(t.Service.Resident) })),
		}
		rate.RedisTime = redisTime(runs)
		for _, peer := range []string{"watermill", "asynq"} {
			if others := r.runs[peer]; others != nil {
				rate.VsPeers[peer] = ratio(runs, others, speed)
			}
		}
		for _, t := range runs {
			rate.Rounds = append(rate.Rounds, t.PerSecond())
		}
		rates = append(rates, rate)
	}
	return rates
}

// redisTime returns medians of microseconds by command.
func redisTime(runs []workload.Throughput) map[string]float64 {
	busy := make(map[string]float64)
	for name := range runs[0].Commands {
		busy[name] = over(runs, func(t workload.Throughput) float64 {
			return float64(t.Commands[name].Time.Microseconds()) / float64(t.Prefetches)
		})
	}
	return busy
}

// Timed is one round of a contender's latencies.
type Timed struct {
	PerSecond float64
	P50, P99  time.Duration
	Most      time.Duration
}

// NewTimed summarizes the latencies of a round.
func NewTimed(perSecond float64, times []time.Duration) Timed {
	return Timed{perSecond, Median(times), Quantile(times, 0.99), Quantile(times, 1)}
}

// Latencies summarizes latency.
func Latencies(r Rounds[Timed]) []Delays {
	p50 := func(t Timed) float64 { return ms(t.P50) }
	p99 := func(t Timed) float64 { return ms(t.P99) }
	var all []Delays
	for _, name := range r.names {
		runs := r.runs[name]
		all = append(all, Delays{
			Name:       name,
			PerSecond:  over(runs, func(t Timed) float64 { return t.PerSecond }),
			P50:        over(runs, p50),
			P99:        over(runs, p99),
			Most:       over(runs, func(t Timed) float64 { return ms(t.Most) }),
			P50VsFloor: ratio(runs, r.runs["floor"], p50),
			P99VsFloor: ratio(runs, r.runs["floor"], p99),
		})
	}
	return all
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// NewBinary summarizes what the service's binary needs.
func NewBinary(b workload.Binary) *Binary {
	return &Binary{StartMs: ms(b.Start), Resident: b.Resident, CPUPercent: 100 * b.CPU}
}

// NewScaling summarizes one contender's measurements along an axis; runs has
// those of all contenders, by value.
func NewScaling(axis, name string, values []int, runs map[string][][]workload.Throughput) Scaling {
	type run = workload.Throughput
	cost := func(t run) float64 { return perMillion(t.CPU(), t.Prefetches) }
	s := Scaling{Axis: axis, Name: name}
	own, floor := runs[name], runs["floor"]
	for i, v := range values {
		p := Point{
			Value:       v,
			PerSecond:   over(own[i], run.PerSecond),
			CPU:         over(own[i], cost),
			ServiceCPU:  over(own[i], func(t run) float64 { return perMillion(t.Service.CPU, t.Prefetches) }),
			RedisCPU:    over(own[i], func(t run) float64 { return perMillion(t.Redis, t.Prefetches) }),
			FollowerCPU: over(own[i], func(t run) float64 { return perMillion(t.Followers.CPU, t.Prefetches) }),
			VsFirst:     ratio(own[i], own[0], cost),
		}
		if floor != nil {
			p.VsFloor = ratio(own[i], floor[i], cost)
		}
		s.Points = append(s.Points, p)
	}
	return s
}
