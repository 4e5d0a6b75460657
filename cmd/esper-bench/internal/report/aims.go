package report

import "slices"

// Aim is what was to be reached, and what was.
type Aim struct {
	What string  `json:"what"`
	Want float64 `json:"want"`
	Got  float64 `json:"got"`
	// AtMost says that less is better; otherwise more is.
	AtMost bool `json:"at_most,omitempty"`
	Met    bool `json:"met"`
}

// ours is the contender that the aims are for.
const ours = "service"

// SetAims compares what was measured with what is aimed at. What was not measured
// is left out.
func (r *Results) SetAims() {
	r.Aims = nil
	if i := find(r.Throughput["streaming"], ours); i != nil {
		r.aim("throughput × floor", 0.6, i.VsFloor, false)
		r.aim("throughput × floor, hoped for", 0.7, i.VsFloor, false)
		r.aim("throughput × floor+", 0.85, i.VsFloorPlus, false)
	}
	if i := find(r.Throughput["backlog"], ours); i != nil {
		for _, peer := range []string{"watermill", "asynq"} {
			r.aim("throughput × "+peer+", draining a backlog", 8, i.VsPeers[peer], false)
		}
	}
	if i := slices.IndexFunc(r.Latency["latency"], func(d Delays) bool { return d.Name == ours }); i >= 0 {
		d := r.Latency["latency"][i]
		r.aim("one at a time: p50 × floor", 1.3, d.P50VsFloor, true)
		r.aim("one at a time: p99 × floor", 1.5, d.P99VsFloor, true)
	}
	if i := slices.IndexFunc(r.Latency["half"], func(d Delays) bool { return d.Name == ours }); i >= 0 {
		r.aim("at half of the highest rate: p99 in ms", 5, r.Latency["half"][i].P99, true)
	}
	if i := slices.IndexFunc(r.Counts, func(c Count) bool { return c.Name == ours }); i >= 0 {
		c := r.Counts[i]
		all := Sum(c.Allocs)
		r.aim("commands sent per prefetch", 0.05, Sum(c.Sent), true)
		r.aim("commands in scripts per prefetch", 3, Sum(c.Script), true)
		r.aim("allocations per prefetch", 30, all, true)
		r.aim("allocations per prefetch beyond go-redis'", 12, all-c.Allocs["go-redis"], true)
	}
	if b := r.Binary; b != nil {
		r.aim("start to first answer in ms", 100, b.StartMs, true)
		r.aim("idle resident memory in MB", 30, float64(b.Resident)/1e6, true)
		r.aim("idle CPU in %", 0.2, b.CPUPercent, true)
	}
	for _, s := range r.Scaling {
		switch {
		case s.Name != ours || s.Axis == "followers":
		case s.Axis == "payload": // more bytes cost more, whoever moves them
			r.aim("CPU × floor along payload, most × first", 1.1, s.most(func(p Point) float64 { return p.VsFloor }), true)
		default:
			r.aim("CPU along "+s.Axis+", most × first", 1.1, s.most(func(p Point) float64 { return p.CPU }), true)
		}
	}
}

// aim notes one comparison, unless nothing was measured.
func (r *Results) aim(what string, want, got float64, atMost bool) {
	if got == 0 && !atMost {
		return
	}
	r.Aims = append(r.Aims, Aim{what, want, got, atMost, atMost && got <= want || !atMost && got >= want})
}

func find(rates []Rate, name string) *Rate {
	for i := range rates {
		if rates[i].Name == name {
			return &rates[i]
		}
	}
	return nil
}

// most returns the highest of a figure as a multiple of the first.
func (s *Scaling) most(figure func(Point) float64) (most float64) {
	for _, p := range s.Points {
		most = max(most, figure(p)/figure(s.Points[0]))
	}
	return most
}
