package oona

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/esper-lite/esper/leyline"
)

// A message that kills its process takes its neighbours with it: all that the
// process held is delivered once more, to the next victim. Such entries become
// suspects. Suspects are handled one at a time, with nothing else beside them,
// and that one was started is written down first. So a start that never came to
// an end is held against the culprit alone.
const (
	// suspectDeliveries is the delivery that makes a suspect.
	suspectDeliveries = 3
	// maxStarts is how often a suspect may be started and never end.
	maxStarts = 3
	// maxDeliveries is the backstop against whatever else keeps an entry from
	// ever being finished.
	maxDeliveries = 50
)

func (d *delivery) suspect() bool { return d.deliveries >= suspectDeliveries }

// exhausted says why a delivery is not tried again, or nil.
func (d *delivery) exhausted() error {
	switch {
	case d.failed.starts >= maxStarts:
		return fmt.Errorf("%w: started alone %d times and never ended", leyline.DeliveriesExhausted, d.failed.starts)
	case d.deliveries > maxDeliveries:
		return fmt.Errorf("%w: delivered %d times", leyline.DeliveriesExhausted, d.deliveries)
	}
	return nil
}

// noteStart writes down that a suspect is about to be started. It reports false
// when it must not be: it is somebody else's by now, or ctx ended.
func (c *consumer) noteStart(ctx context.Context, d *delivery) bool {
	noted := d.failed
	noted.starts++
	started := []outcome{{d: &delivery{text: d.text, failed: noted}, verb: keep}}
	var args commitArgs
	var codes []byte
	err := c.untilDone(ctx, "note start", func(ctx context.Context) (err error) {
		codes, err = c.commit(ctx, &args, started)
		return err
	})
	if err != nil {
		return false
	}
	if codes[0] != codeApplied {
		c.held.release(d)
		return false
	}
	c.log.LogAttrs(ctx, slog.LevelWarn, "handling an entry alone, because it may have ended processes", d.logged(
		slog.Int64("deliveries", d.deliveries), slog.Int("start", noted.starts))...)
	return true
}
