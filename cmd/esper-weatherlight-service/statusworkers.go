package main

import (
	"fmt"
	"slices"
)

// trouble is what can be wrong with a worker.
type trouble int

const (
	noTrouble trouble = iota
	troubleLoop
	troubleBackoff
	troubleDown
	troubleNotUp
	troubleRestarted
)

// trouble says what is wrong with the worker.
func (v *workerView) trouble() trouble {
	switch {
	case v.State == stateUnknown:
		return noTrouble
	case v.looping():
		return troubleLoop
	case v.State == stateBackingOff:
		return troubleBackoff
	case v.State != stateRunning && v.LastError != "":
		return troubleDown
	case v.State != stateRunning && v.young:
		return noTrouble
	case v.State != stateRunning:
		return troubleNotUp
	case v.Recent > 0:
		return troubleRestarted
	}
	return noTrouble
}

// troubled reports whether something is wrong with a worker of a process.
func (v *fleetView) troubled(instance string) bool {
	return slices.ContainsFunc(v.Workers, func(w workerView) bool {
		return w.Instance == instance && w.trouble() != noTrouble
	})
}

// sameTrouble is what workers of several processes have in common when they fail
// for one reason: it is told once.
type sameTrouble struct {
	worker, state, err string
	trouble            trouble
}

// troubled are the workers with one trouble.
type troubled struct {
	sameTrouble
	processes []string
	restarts  float64 // in the last minute, of all
	total     float64 // since the processes started
	backoff   float64 // the shortest, in seconds
}

// workerProblems tells of workers that are not well.
func workerProblems(v *fleetView) (found []problem) {
	var order []*troubled
	groups := make(map[sameTrouble]*troubled)
	for n := range v.Workers {
		w := &v.Workers[n]
		same := sameTrouble{w.Worker, w.State, w.LastError, w.trouble()}
		if same.trouble == noTrouble {
			continue
		}
		if same.trouble == troubleLoop {
			same.state = "" // up and down by turns
		}
		g := groups[same]
		if g == nil {
			g = &troubled{sameTrouble: same, backoff: deref(w.BackoffS)}
			groups[same] = g
			order = append(order, g)
		}
		g.processes = append(g.processes, w.Instance)
		g.restarts += w.Recent
		g.total += w.Restarts
		g.backoff = min(g.backoff, deref(w.BackoffS))
	}
	for _, g := range order {
		found = append(found, g.problem())
	}
	return found
}

// problem says in words what is wrong.
func (g *troubled) problem() problem {
	p := problem{Severity: severityCritical, Subject: "worker " + g.worker + " on " + oneOrMany(g.processes, "processes")}
	said := ""
	if g.err != "" {
		said = ": " + g.err
	}
	switch g.trouble {
	case troubleLoop:
		p.Text = fmt.Sprintf("crashes again and again, %s restarts in the last minute%s", count(g.restarts), said)
		p.Remedy = "Mend what its error says; it is restarted with a growing delay until then."
	case troubleBackoff:
		p.Text = fmt.Sprintf("is down and restarts in %s%s", shortSeconds(g.backoff), said)
		if g.total > 0 {
			p.Text = fmt.Sprintf("is down, was restarted %s, the next time in %s%s", times(g.total), shortSeconds(g.backoff), said)
		}
		p.Remedy = "Mend what its error says; it is restarted with a growing delay until then."
	case troubleDown:
		p.Text = "is " + g.state + said
		p.Remedy = "If it was parked after too many failures, mend what its error says and restart the process."
	case troubleNotUp:
		p.Severity = severityWarning
		p.Text = "is " + g.state
		p.Remedy = "At a start this passes within seconds; otherwise look at the log of the process."
	default:
		p.Severity = severityWarning
		p.Text = fmt.Sprintf("was restarted %s in the last minute%s", times(g.restarts), said)
		p.Remedy = "It runs again. If it happens often, mend what its error says."
	}
	return p
}
