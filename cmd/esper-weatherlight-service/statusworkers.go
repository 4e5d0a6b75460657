package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"
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

// workerView is one worker of one process.
type workerView struct {
	Worker    string   `json:"worker"`
	Instance  string   `json:"instance"`
	State     string   `json:"state"` // running, backing off, not running, or what it says; unknown of a silent process
	Restarts  float64  `json:"restarts_total"`
	Recent    float64  `json:"restarts_last_minute"`
	BackoffS  *float64 `json:"backoff_seconds"`
	LastError string   `json:"last_error,omitempty"`
	ErrorAgoS *float64 `json:"last_error_seconds_ago"`

	young bool // its process has just begun
}

// workers returns the workers of a process by name, those in trouble first.
func (i *instance) workers(now time.Time, health string) []workerView {
	var all []workerView
	recent := make(map[string]float64)
	steps, _ := i.within(rateWindow)
	for _, s := range steps {
		for worker, n := range s.Restarts {
			recent[worker] += n
		}
	}
	for name, running := range i.latest.Figures {
		worker, ok := workerOf(name, ".running")
		if !ok {
			continue
		}
		v := workerView{
			Worker:   printable(worker),
			Instance: printable(i.latest.Instance),
			State:    i.state(worker, running != 0, health),
			Restarts: i.latest.figure("weatherlight.worker." + worker + ".restarts"),
			Recent:   recent[worker],
			young:    i.latest.figure("weatherlight.uptime_s") < startTime.Seconds(),
			BackoffS: known(i.latest.Figures, "weatherlight.worker."+worker+".backoff_seconds"),
		}
		if v.BackoffS != nil { // it went on since that was said
			*v.BackoffS = max(0, *v.BackoffS-max(0, now.Sub(i.latest.Arrived).Seconds()))
		}
		if failure, ok := i.failures[worker]; ok {
			v.LastError = printable(failure.Text)
			v.ErrorAgoS = new(max(0, now.Sub(failure.At).Seconds()))
		}
		all = append(all, v)
	}
	slices.SortFunc(all, func(a, b workerView) int {
		return cmp.Or(cmp.Compare(a.rank(), b.rank()), cmp.Compare(a.Worker, b.Worker))
	})
	return all
}

// States of a worker that a packet does not name itself.
const (
	stateRunning    = "running"
	stateBackingOff = "backing off"
	stateNotRunning = "not running"
	stateUnknown    = "unknown"
)

func (i *instance) state(worker string, running bool, health string) string {
	_, backingOff := i.latest.Figures["weatherlight.worker."+worker+".backoff_seconds"]
	switch {
	case health == healthSilent:
		return stateUnknown
	case i.latest.States[worker] != "":
		return printable(i.latest.States[worker])
	case running:
		return stateRunning
	case backingOff:
		return stateBackingOff
	}
	return stateNotRunning
}

// startTime is how long a process may take until all of its workers are up,
// before somebody should look.
const startTime = 10 * time.Second

// crashLoop is how many restarts in a minute are a loop.
const crashLoop = 3

// looping reports whether the worker crashes again and again.
func (v *workerView) looping() bool { return v.Recent >= crashLoop }

// rank orders workers, those in trouble first.
func (v *workerView) rank() int {
	switch {
	case v.looping():
		return 0
	case v.State == stateRunning:
		return 2
	}
	return 1
}
