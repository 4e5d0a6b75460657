package oona

import (
	"sync/atomic"
	"time"
)

// serverClock follows the clock of the server: freshness is judged by it, since
// entry ids are, and replicas then agree. Between two readings it goes by the
// monotonic clock, so that a step of the local clock changes nothing. The zero
// value goes by the local clock.
type serverClock struct {
	last atomic.Pointer[reading]
}

// reading is the server's time at a moment of ours.
type reading struct{ server, local time.Time }

func (c *serverClock) set(server time.Time) { c.last.Store(&reading{server, time.Now()}) }

func (c *serverClock) now() time.Time {
	r := c.last.Load()
	if r == nil {
		return time.Now()
	}
	return r.server.Add(time.Since(r.local))
}
