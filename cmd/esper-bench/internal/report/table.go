package report

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// Write prints the results as tables.
func (r *Results) Write(w io.Writer) {
	fmt.Fprintf(w, "%d cores, %s, redis %s, load average %.1f; medians of %d rounds\n", r.Machine.Cores, r.Machine.Go, r.Machine.Redis, r.Machine.Load1, r.Rounds)
	for _, name := range slices.Sorted(maps.Keys(r.Throughput)) {
		writeRates(w, name, r.Throughput[name])
		writePeers(w, name, r.Throughput[name])
		writeRedisTime(w, name, r.Throughput[name])
	}
	for _, name := range slices.Sorted(maps.Keys(r.Latency)) {
		writeDelays(w, name, r.Latency[name])
	}
	writeCounts(w, r.Counts)
	for _, s := range r.Scaling {
		writeScaling(w, s)
	}
	if b := r.Binary; b != nil {
		fmt.Fprintf(w, "\nthe service's binary: start to first answer %.0f ms, idle %.1f MB resident, %.2f %% CPU\n", b.StartMs, float64(b.Resident)/1e6, b.CPUPercent)
	}
	for _, s := range r.Spent {
		writeSpent(w, s)
	}
	writeAims(w, r.Aims)
}

// table writes lines of columns.
func table(w io.Writer, head string, lines func(row func(columns ...any))) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "\n%s\t\n", head)
	lines(func(columns ...any) {
		for _, c := range columns {
			if v, ok := c.(float64); ok {
				c = figure(v)
			}
			fmt.Fprintf(t, "%v\t", c)
		}
		fmt.Fprintln(t)
	})
	t.Flush()
}

// figure prints three significant digits, and nothing for zero.
func figure(v float64) string {
	switch {
	case v == 0:
		return "-"
	case v < 0.1:
		return fmt.Sprintf("%.4f", v)
	case v < 10:
		return fmt.Sprintf("%.2f", v)
	case v < 1000:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

func writeRates(w io.Writer, name string, rates []Rate) {
	table(w, name+"\tprefetches/s\t× floor\t× floor+\tCPU × floor\t× floor+\tservice s/M\tasker s/M\tredis s/M\tallocs\tbytes\tGCs/M\tRSS MB",
		func(row func(...any)) {
			for _, r := range rates {
				row(r.Name, r.PerSecond, r.VsFloor, r.VsFloorPlus, r.CPUVsFloor, r.CPUVsFloorPlus, r.ServiceCPU, r.PublisherCPU, r.RedisCPU, r.Allocs, r.Bytes, r.GCs, float64(r.Resident)/1e6)
			}
		})
}

// writeRedisTime lists the commands that keep Redis busy.
func writeRedisTime(w io.Writer, name string, rates []Rate) {
	commands := make(map[string]bool)
	for _, r := range rates {
		for c, us := range r.RedisTime {
			commands[c] = commands[c] || us >= 0.05
		}
	}
	var head strings.Builder
	head.WriteString(name + ": µs of Redis per prefetch\ttotal CPU")
	var names []string
	for _, c := range slices.Sorted(maps.Keys(commands)) {
		if commands[c] {
			names = append(names, c)
			head.WriteString("\t" + c)
		}
	}
	table(w, head.String(), func(row func(...any)) {
		for _, r := range rates {
			columns := []any{r.Name, r.RedisCPU}
			for _, c := range names {
				columns = append(columns, r.RedisTime[c])
			}
			row(columns...)
		}
	})
}

func writeDelays(w io.Writer, name string, delays []Delays) {
	table(w, name+"\tat per s\tp50 ms\tp99 ms\tmax ms\tp50 × floor\tp99 × floor", func(row func(...any)) {
		for _, d := range delays {
			row(d.Name, d.PerSecond, d.P50, d.P99, d.Most, d.P50VsFloor, d.P99VsFloor)
		}
	})
}

func writeCounts(w io.Writer, counts []Count) {
	for _, c := range counts {
		table(w, "per prefetch: "+c.Name+"\tsent\tin script\tallocs", func(row func(...any)) {
			row("all", Sum(c.Sent), Sum(c.Script), Sum(c.Allocs))
			names := maps.Clone(c.Sent)
			maps.Copy(names, c.Script)
			for _, name := range slices.Sorted(maps.Keys(names)) {
				row(name, c.Sent[name], c.Script[name])
			}
			for _, name := range slices.Sorted(maps.Keys(c.Allocs)) {
				if c.Allocs[name] >= 0.01 {
					row(name, "", "", c.Allocs[name])
				}
			}
		})
		table(w, "allocs\tbytes\tplace", func(row func(...any)) {
			for _, p := range c.Places {
				if p.Allocs >= 0.05 {
					row(p.Allocs, p.Bytes, p.Where)
				}
			}
		})
	}
}

func writeScaling(w io.Writer, s Scaling) {
	table(w, s.Axis+"\t"+s.Name+"/s\tCPU s/M\t× first\t× floor\tservice s/M\tredis s/M\tfollowers s/M", func(row func(...any)) {
		for _, p := range s.Points {
			row(p.Value, p.PerSecond, p.CPU, p.VsFirst, p.VsFloor, p.ServiceCPU, p.RedisCPU, p.FollowerCPU)
		}
	})
}

func writeSpent(w io.Writer, s Spent) {
	table(w, "where the time of "+s.Name+" goes\tµs/prefetch\tin system calls\tallocating", func(row func(...any)) {
		sum := Part{What: "all"}
		for _, p := range s.Parts {
			row(p.What, p.Total, p.System, p.Memory)
			sum.Total, sum.System, sum.Memory = sum.Total+p.Total, sum.System+p.System, sum.Memory+p.Memory
		}
		row(sum.What, sum.Total, sum.System, sum.Memory)
	})
}

func writePeers(w io.Writer, name string, rates []Rate) {
	if len(rates) == 0 || len(rates[0].VsPeers) == 0 {
		return
	}
	peers := slices.Sorted(maps.Keys(rates[0].VsPeers))
	table(w, name+"\t× "+strings.Join(peers, "\t× "), func(row func(...any)) {
		for _, r := range rates {
			columns := []any{r.Name}
			for _, p := range peers {
				columns = append(columns, r.VsPeers[p])
			}
			row(columns...)
		}
	})
}

func writeAims(w io.Writer, aims []Aim) {
	if len(aims) == 0 {
		return
	}
	table(w, "aims of "+ours+"\twant\tgot\t", func(row func(...any)) {
		for _, a := range aims {
			bound, verdict := "≥ ", "no"
			if a.AtMost {
				bound = "≤ "
			}
			if a.Met {
				verdict = "met"
			}
			row(a.What, bound+figure(a.Want), a.Got, verdict)
		}
	})
}
