package weatherlight

import (
	"time"

	"github.com/esper-lite/esper/leyline/leylinepb"
)

// health is how a supervisor is, in the words of telemetry.
type health struct {
	status  leylinepb.HealthStatus
	summary string
	until   time.Time // when it may be another one without anything happening, zero if never
}

// Summaries of health, the worse ones first.
const (
	summaryNoWorker     = "no_worker_running"      // critical: none of them, but some should
	summaryHalt         = "emergency_halt"         // unhealthy, until the hold is over
	summaryAbandoned    = "abandoned"              // unhealthy: a goroutine does not end
	summaryConservative = "emergency_conservative" // degraded, until the hold is over
	summaryParked       = "parked"                 // degraded: a worker is left down
	summaryBackoff      = "backoff"                // degraded: a worker backs off
	summaryRecentError  = "recent_error"           // degraded: a worker failed lately
	summaryStarting     = "starting"               // healthy: not all have been up yet
	summarySteady       = "steady"
	summaryShutdown     = "shutdown" // of the last packet
)

// Health says how the supervisor is at this moment, as the next packet will.
func (r *Reporter) Health() (status leylinepb.HealthStatus, summary string) {
	h := r.judge(r.cfg.Supervisor.Snapshot(), time.Now())
	return h.status, h.summary
}

// judge says how the supervisor is.
func (r *Reporter) judge(snap Snapshot, now time.Time) health {
	halted, conservative := r.emergency.holds()
	recent := time.Time{}
	if snap.LastFailure != nil {
		recent = snap.LastFailure.At.Add(r.cfg.RecentError)
	}
	up := snap.Running + snap.Starting
	if r.supervised.Load() {
		up-- // the reporter itself proves nothing
	}
	degraded := ""
	if r.cfg.Degraded != nil {
		degraded = r.cfg.Degraded()
	}
	var h health
	switch {
	case up <= 0 && snap.BackingOff+snap.Parked > 0 && !snap.ShuttingDown:
		h = health{status: leylinepb.HealthStatus_HEALTH_STATUS_CRITICAL, summary: summaryNoWorker}
	case now.Before(halted):
		h = health{status: leylinepb.HealthStatus_HEALTH_STATUS_UNHEALTHY, summary: summaryHalt}
	case snap.Abandoned > 0:
		h = health{status: leylinepb.HealthStatus_HEALTH_STATUS_UNHEALTHY, summary: summaryAbandoned}
	case now.Before(conservative):
		h = health{status: leylinepb.HealthStatus_HEALTH_STATUS_DEGRADED, summary: summaryConservative}
	case snap.Parked > 0:
		h = health{status: leylinepb.HealthStatus_HEALTH_STATUS_DEGRADED, summary: summaryParked}
	case snap.BackingOff > 0:
		h = health{status: leylinepb.HealthStatus_HEALTH_STATUS_DEGRADED, summary: summaryBackoff}
	case degraded != "":
		h = health{status: leylinepb.HealthStatus_HEALTH_STATUS_DEGRADED, summary: degraded}
	case now.Before(recent):
		h = health{status: leylinepb.HealthStatus_HEALTH_STATUS_DEGRADED, summary: summaryRecentError}
	default:
		h = health{status: leylinepb.HealthStatus_HEALTH_STATUS_HEALTHY, summary: summarySteady}
	}
	for _, end := range []time.Time{halted, conservative, recent} {
		if now.Before(end) && (h.until.IsZero() || end.Before(h.until)) {
			h.until = end
		}
	}
	return h
}
