package oona

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/esper-lite/esper/leyline"
)

// ErrRateLimited is returned for a message to the emergency stream beyond
// Config.EmergencyPerMinute.
var ErrRateLimited = errors.New("oona: too many messages to the emergency stream")

// maxOrigins is how many origins of emergencies are told apart; the rest counts
// as otherOrigin.
const (
	maxOrigins  = 64
	otherOrigin = "other"
)

// emergencies limits what a client sends to the emergency stream, and counts it.
type emergencies struct {
	bucket *rate.Limiter

	mu        sync.Mutex
	published map[string]int64 // by origin
	dropped   map[string]int64
}

func newEmergencies(perMinute int) *emergencies {
	e := &emergencies{published: make(map[string]int64), dropped: make(map[string]int64)}
	if perMinute > 0 {
		e.bucket = rate.NewLimiter(rate.Limit(float64(perMinute)/60), perMinute)
	}
	return e
}

// allow takes a token, or counts what had none.
func (e *emergencies) allow(origin string) bool {
	ok := e.bucket == nil || e.bucket.AllowN(time.Now(), 1)
	e.mu.Lock()
	defer e.mu.Unlock()
	counts := e.dropped
	if ok {
		counts = e.published
	}
	origin = metricName(origin)
	if _, known := counts[origin]; !known && len(counts) >= maxOrigins {
		origin = otherOrigin
	}
	counts[origin]++
	return ok
}

// metricName makes an origin fit to be part of a name, as the Python side does.
func metricName(origin string) string {
	if origin == "" {
		return "unknown"
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '-':
			return r
		}
		return '_'
	}, origin)
}

func (e *emergencies) appendMetrics(dst []leyline.Metric) []leyline.Metric {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range []struct {
		name   string
		counts map[string]int64
	}{
		{"oona.emergency_published", e.published},
		{"oona.emergency_rate_dropped", e.dropped},
	} {
		var sum int64
		total := len(dst)
		dst = append(dst, leyline.Metric{})
		for _, origin := range slices.Sorted(maps.Keys(c.counts)) {
			sum += c.counts[origin]
			dst = append(dst, count(c.name+".src."+origin, c.counts[origin]))
		}
		dst[total] = count(c.name, sum)
	}
	return dst
}
