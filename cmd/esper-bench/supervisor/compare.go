package supervisor

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Options says how much is measured.
type Options struct {
	// Rounds is how many turns each side has, ten times as many where a turn
	// takes less than a tenth of a second; the median counts. Zero means 5.
	Rounds int
	// Workers are the sizes at which start, stop and memory are measured. Nil
	// means 10,000 and 100,000.
	Workers []int
	// Restarts is how many crashes in a row are measured. Zero means 10,000.
	Restarts int
	// Looks is how often the workers are listed per turn. Zero means 500.
	Looks int
	// Backoff is the backoff of the crash loop next to an innocent worker. Zero
	// means 2s.
	Backoff time.Duration
	// Only leaves out what does not contain it in its name. Empty means all.
	Only string
}

func (o Options) withDefaults() Options {
	o.Rounds = cmp.Or(o.Rounds, 5)
	o.Restarts = cmp.Or(o.Restarts, 10_000)
	o.Looks = cmp.Or(o.Looks, 500)
	o.Backoff = cmp.Or(o.Backoff, 2*time.Second)
	if len(o.Workers) == 0 {
		o.Workers = []int{10_000, 100_000}
	}
	return o
}

// Row is one comparison.
type Row struct {
	// Name is what was measured.
	Name string
	// Unit is that of Ours and Suture: less is better.
	Unit string
	// Ours and Suture are the medians.
	Ours, Suture float64
	// Ratio is the median of Ours by Suture of the same turn, zero where Suture
	// has nothing to compare with.
	Ratio float64
}

// sample is one figure of one turn.
type sample struct {
	name, unit string
	value      float64
}

// measurement measures one contender once.
type measurement struct {
	name  string
	short bool // a turn takes less than a tenth of a second
	run   func(ctx context.Context, c contender) ([]sample, error)
}

func (o Options) measurements() []measurement {
	var all []measurement
	for _, n := range o.Workers {
		all = append(all, measurement{
			fmt.Sprintf("start, stop and memory of %d workers", n), n <= 10_000, startStop(n),
		})
	}
	return append(all,
		measurement{"restart by error", true, restarts(o.Restarts, "error")},
		measurement{"restart by panic", false, restarts(o.Restarts, "panic")},
		measurement{"look at 10000 idle workers", false, look(o.Looks, "idle")},
		measurement{"look at 10000 workers in a crash storm", false, look(o.Looks, "crash storm")},
		measurement{"blast radius", false, blast(o.Backoff)},
	)
}

// Compare measures everything and returns a row for each figure. It takes a few
// minutes at the defaults, and needs about 1 GB of memory for 100,000 workers.
func Compare(ctx context.Context, opts Options) ([]Row, error) {
	opts = opts.withDefaults()
	var rows []Row
	for _, m := range opts.measurements() {
		if !strings.Contains(m.name, opts.Only) {
			continue
		}
		turns := opts.Rounds
		if m.short {
			turns *= 10
		}
		compared, err := inTurns(ctx, m, turns)
		if err != nil {
			return rows, fmt.Errorf("%s: %w", m.name, err)
		}
		rows = append(rows, compared...)
	}
	return rows, nil
}

// inTurns runs m for each contender in turn, the other one first every other
// time.
func inTurns(ctx context.Context, m measurement, turns int) ([]Row, error) {
	both := contenders()
	figures := make(map[string]map[string][]float64) // by name, then contender
	var names, units []string
	for range turns {
		for _, c := range both {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			samples, err := m.run(ctx, c)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			for _, s := range samples {
				if figures[s.name] == nil {
					figures[s.name] = make(map[string][]float64)
					names, units = append(names, s.name), append(units, s.unit)
				}
				figures[s.name][c.name] = append(figures[s.name][c.name], s.value)
			}
		}
		slices.Reverse(both)
	}
	var rows []Row
	for i, name := range names {
		rows = append(rows, row(name, units[i], figures[name]["ours"], figures[name]["suture"]))
	}
	return rows, nil
}

func row(name, unit string, ours, suture []float64) Row {
	r := Row{Name: name, Unit: unit, Ours: median(ours)}
	if len(suture) == 0 {
		return r
	}
	ratios := make([]float64, len(ours))
	for i := range ours {
		ratios[i] = ours[i] / suture[i]
	}
	r.Suture, r.Ratio = median(suture), median(ratios)
	return r
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 0 {
		return (sorted[middle-1] + sorted[middle]) / 2
	}
	return sorted[middle]
}
