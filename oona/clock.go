package oona

import (
	"sync/atomic"
	"time"
)

// serverClock follows the clock of the server: freshness is judged by it, since
// entry ids are, and replicas then agree.
type serverClock struct {
	offset atomic.Int64 // server minus local, in ns
}

func (c *serverClock) set(server time.Time) { c.offset.Store(int64(time.Until(server))) }

func (c *serverClock) now() time.Time {
	return time.Now().Add(time.Duration(c.offset.Load()))
}
