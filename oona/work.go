package oona

import "context"

// phases are the contexts of a consumer's steps, in the order in which they end
// when it stops.
type phases struct{ reading, handling, committing context.Context }

// work does what is next until the consumer stops. Who reads a message goes on to
// handle it, and to commit what was decided: one that is alone is never handed to
// another goroutine, which would take longer than all the rest. There is one
// goroutine for reading, one for each worker and one for each commit that is under
// way, so that none of these waits for another.
func (c *consumer) work(until phases) {
	var buf []*delivery
	for {
		t := c.held.next(buf[:0])
		switch {
		case t.read > 0:
			c.read(until.reading, t.read)
		case len(t.chunk) == 0:
			c.workers.Done()
			return
		case !c.process(until, t):
			return // somebody else does this goroutine's work
		default:
			clear(t.chunk)
			buf = t.chunk
		}
	}
}

// process decides on a chunk and commits what was decided. What is left out was
// not started because the consumer stops: it is handed back. It reports false when
// it was replaced meanwhile.
func (c *consumer) process(until phases, t task) bool {
	admitted, decided := c.admit(t.chunk)
	if c.sub.ClaimFirst && len(admitted) > 0 {
		admitted, decided = c.claim(until.reading, admitted, decided)
	}
	if t.alone && len(admitted) > 0 && !c.noteStart(until.reading, admitted[0]) {
		admitted = nil
	}
	if len(admitted) > 0 {
		return c.attempt(until, t.alone, admitted, decided)
	}
	c.decide(until, t.alone, decided)
	return true
}

// decide ends the handling of a chunk and commits what was decided.
func (c *consumer) decide(until phases, alone bool, decided []outcome) {
	c.held.done(alone)
	c.commitSoon(until.committing, decided)
}
