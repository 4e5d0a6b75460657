package oona_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/esper-lite/esper/oona"
	"github.com/esper-lite/esper/oona/oonatest/redistest"
)

// chaosVariable, set to "long", has TestChaos do all of it: a million messages,
// for some ten minutes.
//
//	OONA_CHAOS=long go test ./oona -run '^TestChaos$' -v -timeout 60m
const chaosVariable = "OONA_CHAOS"

// chaos says how much of what happens. Events come evenly over the messages.
type chaos struct {
	messages, kills, stops, restarts int
}

// TestChaos serves requests with four processes while these are killed and
// frozen for longer than the reclaim time, and Redis is killed and restarted.
// Every request has exactly one answer.
func TestChaos(t *testing.T) {
	plan := chaos{messages: 20_000, kills: 8, stops: 2, restarts: 2}
	switch {
	case os.Getenv(chaosVariable) == "long":
		plan = chaos{messages: 1_000_000, kills: 100, stops: 10, restarts: 20}
	case testing.Short():
		t.Skip("starts processes")
	}
	server := redistest.Start(t)
	c := connect(t, server.URL(), "publisher")
	run := &chaosRun{t: t, plan: plan, server: server, client: c, tally: make([]uint8, plan.messages)}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var background sync.WaitGroup
	defer background.Wait()
	defer cancel()
	background.Go(func() { run.publish(ctx) })
	background.Go(func() { run.collect(ctx) })
	var watching sync.WaitGroup
	watching.Go(func() { run.watch(ctx) })
	run.stopWatching = func() { cancel(); watching.Wait() }
	background.Go(func() {
		keep := housekeeper(t, c, oona.Housekeeping{Interval: 5 * time.Second, Retentions: []oona.Retention{
			{Stream: c.Streams().KernelRequests, Age: 10 * time.Second, Unfinished: true, Group: "weatherlight"},
		}})
		_ = keep.Run(ctx)
	})
	start := time.Now()
	run.drive()
	eventuallyWithin(t, 2*time.Minute, func() error {
		if n := run.answered.Load(); n < int64(plan.messages) {
			return fmt.Errorf("%d of %d answered", n, plan.messages)
		}
		return nil
	})
	run.check(time.Since(start))
}

const (
	chaosConsumers = 4
	chaosReclaim   = 2 * time.Second
	chaosFreeze    = 5 * time.Second
	// chaosAhead bounds how far the publisher runs ahead of the answers.
	chaosAhead = 20_000
)

type chaosRun struct {
	t        *testing.T
	plan     chaos
	server   *redistest.Server
	client   *oona.Client
	children [chaosConsumers]*child
	spawned  []*child // all that there were
	freezing sync.WaitGroup
	mu       sync.Mutex // guards frozen and freezes of the children
	outages  []span
	stalls   []span // the watcher's

	stopWatching func()
	published    atomic.Int64
	answered     atomic.Int64 // requests that have an answer
	doubles      atomic.Int64
	tally        []uint8 // answers by request; the collector's
}

// publish asks, in batches, again and again until it knows that it was heard.
func (r *chaosRun) publish(ctx context.Context) {
	const batch = 200
	for start := 0; start < r.plan.messages; start += batch {
		out := make([]oona.Outgoing, 0, batch)
		for i := start; i < min(start+batch, r.plan.messages); i++ {
			out = append(out, oona.Outgoing{Message: request("req-" + strconv.Itoa(i))})
		}
		for {
			if _, err := r.client.Send(ctx, out...); err == nil {
				break
			}
			if ctx.Err() != nil {
				return
			}
			pause(r.t, 20*time.Millisecond)
		}
		r.published.Add(int64(len(out)))
		for r.published.Load()-r.answered.Load() > chaosAhead && ctx.Err() == nil {
			pause(r.t, 5*time.Millisecond)
		}
	}
}

// collect counts the answers, and trims what it counted.
func (r *chaosRun) collect(ctx context.Context) {
	rdb := r.server.Client()
	stream := r.client.Streams().KernelReady
	for last, counted := "0", 0; ctx.Err() == nil; {
		streams, err := rdb.XRead(ctx, &redis.XReadArgs{Streams: []string{stream, last}, Count: 2000, Block: -1}).Result()
		if err != nil || len(streams) == 0 {
			pause(r.t, 20*time.Millisecond)
			continue
		}
		for _, e := range streams[0].Messages {
			i, err := strconv.Atoi(strings.TrimPrefix(requestID(open(r.t, e)), "req-"))
			if err != nil || i >= len(r.tally) {
				r.t.Errorf("answer to a stranger: %v", err)
				continue
			}
			if r.tally[i]++; r.tally[i] == 1 {
				r.answered.Add(1)
			} else {
				r.doubles.Add(1)
			}
			last = e.ID
		}
		if counted += len(streams[0].Messages); counted > 50_000 {
			counted = 0
			_ = rdb.XTrimMinID(ctx, stream, last).Err() // or the next time
		}
	}
}

// drive causes the events when their part of the messages has been answered.
func (r *chaosRun) drive() {
	for i := range r.children {
		r.spawn(i)
	}
	type event struct {
		at int
		do func()
	}
	var events []event
	spread := func(n int, do func()) {
		for i := range n {
			events = append(events, event{(i + 1) * r.plan.messages / (n + 1), do})
		}
	}
	spread(r.plan.kills, r.kill)
	spread(r.plan.stops, r.freeze)
	spread(r.plan.restarts, r.restart)
	for done := 0; done < len(events); {
		for i := range events {
			if e := &events[i]; e.do != nil && r.answered.Load() >= int64(e.at) {
				e.do()
				e.do = nil
				done++
			}
		}
		pause(r.t, 5*time.Millisecond)
		if r.t.Context().Err() != nil {
			return
		}
	}
	r.freezing.Wait()
}

func (r *chaosRun) spawn(i int) {
	r.children[i] = spawn(r.t, r.server.URL(), fmt.Sprintf("child-%d-%d", i, len(r.spawned)), chaosReclaim)
	r.spawned = append(r.spawned, r.children[i])
}

// kill ends a process at once, and starts another.
func (r *chaosRun) kill() {
	i := r.pick()
	r.children[i].kill()
	r.spawn(i)
}

// pick returns one that is not frozen: a freeze is to last.
func (r *chaosRun) pick() int {
	for {
		i := rand.IntN(chaosConsumers)
		r.mu.Lock()
		frozen := r.children[i].frozen
		r.mu.Unlock()
		if !frozen {
			return i
		}
		pause(r.t, time.Millisecond)
	}
}

// freeze stops a process for longer than the reclaim time.
func (r *chaosRun) freeze() {
	p := r.children[r.pick()]
	r.note(p, true)
	from := time.Now()
	p.signal(r.t, syscall.SIGSTOP)
	r.freezing.Go(func() {
		pause(r.t, chaosFreeze)
		p.signal(r.t, syscall.SIGCONT)
		r.note(p, false)
		r.mu.Lock()
		defer r.mu.Unlock()
		p.freezes = append(p.freezes, span{from, time.Now().Add(chaosReclaim)})
	})
}

func (r *chaosRun) note(p *child, frozen bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.frozen = frozen
}

func (r *chaosRun) restart() {
	from := time.Now()
	r.server.Kill()
	pause(r.t, 300*time.Millisecond)
	r.server.Restart()
	r.outages = append(r.outages, span{from, time.Now().Add(chaosReclaim)})
}

// watch notes when Redis, or the machine, was too slow for heartbeats.
func (r *chaosRun) watch(ctx context.Context) {
	rdb := r.server.Client()
	for last := time.Now(); ctx.Err() == nil; {
		pause(r.t, 20*time.Millisecond)
		_ = rdb.Set(ctx, "watch", "", 0).Err() // a write, which waits for the disk
		now := time.Now()
		if now.Sub(last) > chaosReclaim/4 {
			r.stalls = append(r.stalls, span{last, now.Add(chaosReclaim)})
		}
		last = now
	}
}

func (r *chaosRun) check(took time.Duration) {
	t := r.t
	rdb := r.server.Client()
	eventuallyWithin(t, time.Minute, settled(t, rdb, r.client.Streams().KernelRequests, -1))
	for _, p := range r.children { // in order, so that they hand back
		p.signal(t, syscall.SIGTERM)
	}
	for _, p := range r.children {
		<-p.done
	}
	letters := rdb.XLen(t.Context(), r.client.Streams().DeadLetter).Val()
	r.stopWatching()
	// A process that the machine starves is frozen too, so these are counted and do
	// not fail the test; that heartbeats work is shown where time is not real.
	again, together, without := overlaps(t, readHandlings(t, r.spawned, r.plan.messages), append(r.outages, r.stalls...))
	lost := 0
	for _, n := range r.tally {
		if n == 0 {
			lost++
		}
	}
	t.Logf("%d messages in %v through %d processes, with %d kills, %d stops and %d restarts of Redis: %d lost, %d double answers, %d dead letters; %d handled more than once, %d by two at the same time, %d of these without a reason that is known",
		r.plan.messages, took.Round(time.Second), chaosConsumers, r.plan.kills, r.plan.stops, r.plan.restarts, lost, r.doubles.Load(), letters, again, together, without)
	if lost > 0 || r.doubles.Load() > 0 || letters > 0 {
		t.Error("messages were lost, answered twice or given up")
	}
}
