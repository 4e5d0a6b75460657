package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/esper-lite/esper/oona"
)

// noAnswerLook is how long it may take to find out why there was no answer.
const noAnswerLook = 3 * time.Second

// whyNoAnswer says why answers are missing, as far as the telemetry of the fleet
// tells; nil if none is.
func whyNoAnswer(ctx context.Context, s settings, client *oona.Client, answers []prefetched) error {
	if !slices.ContainsFunc(answers, func(p prefetched) bool { return p.Status == "timeout" }) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, noAnswerLook)
	defer cancel()
	o := newObserver(client)
	back := max(time.Minute, overdue*s.TelemetryInterval)
	_, err := o.catchUp(ctx, back)
	now := client.Now()
	alive := slices.ContainsFunc(o.fleet.sorted(), func(i *instance) bool {
		return i.latest.Summary != summaryShutdown && now.Sub(i.latest.Arrived) <= overdue*s.TelemetryInterval
	})
	unverified := o.countUnverified(now, back)
	switch {
	case alive:
		return fmt.Errorf("no answer in time, though Weatherlight reports on this bus: \"status\" says what is wrong with it")
	case unverified > 0:
		return fmt.Errorf("no answer in time: %s on the bus without a signature that this command accepts, none with one: give it the ESPER_LEYLINE_SECRET that the fleet uses", messages(float64(unverified)))
	case err != nil:
		return fmt.Errorf("no answer in time: %w", busTrouble(s, err))
	}
	return errors.New("no answer in time: no Weatherlight process reports on this bus; start one, or check that REDIS_URL names the bus of the fleet")
}
