package main

import (
	"bufio"
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/proto"

	"github.com/esper-lite/esper/oona"
	"github.com/esper-lite/esper/oona/oonatest/redistest"
)

// pass lets d pass on the wall clock, for tests with processes of their own.
func pass(t *testing.T, d time.Duration) {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	<-ctx.Done()
}

// sources is a handler that counts who answered.
type sources struct {
	*answerLog
	mu sync.Mutex
	by map[string]int
}

func (s *sources) Handle(ctx context.Context, batch []*oona.Message) []oona.Result {
	s.mu.Lock()
	for _, m := range batch {
		s.by[m.Envelope.Source()]++
	}
	s.mu.Unlock()
	return s.answerLog.Handle(ctx, batch)
}

// count returns how many answered.
func (s *sources) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.by)
}

func watchSources(t *testing.T, client *oona.Client) *sources {
	s := &sources{answerLog: &answerLog{answers: make(map[string][]proto.Message)}, by: make(map[string]int)}
	followAnswers(t, client, s)
	return s
}

// settled says what of the requests is not finished.
func settled(t *testing.T, rdb *redis.Client, stream string) func() error {
	return func() error {
		groups, err := rdb.XInfoGroups(t.Context(), stream).Result()
		if err != nil || len(groups) != 1 {
			return fmt.Errorf("groups %v, %w", groups, err)
		}
		if g := groups[0]; g.Pending != 0 || g.Lag != 0 {
			return fmt.Errorf("%d pending, %d unread", g.Pending, g.Lag)
		}
		return nil
	}
}

// Two processes on one host share the work, and whichever of them reads a
// recorded request refuses it.
func TestTwoProcessesShareTheWork(t *testing.T) {
	t.Parallel()
	const total = 10_000
	server := redistest.Start(t)
	rdb := server.Client()
	dir := serviceDir(t)
	client := busClient(t, server.URL(), "test")
	answers := watchSources(t, client)
	requests := client.Streams().KernelRequests
	first, second := start(t, dir, serviceEnv(server)), start(t, dir, serviceEnv(server))
	for _, p := range []*process{first, second} {
		eventually(t, func() error {
			return errIf(!strings.Contains(p.stderr.String(), "supervisor booted"), "not booted")
		})
	}
	for from := 0; from < total; from += 500 {
		publishRequests(t, client, from, from+500)
	}
	answers.oneEach(t, total)
	if n := answers.count(); n != 2 {
		t.Errorf("%d processes answered: %v", n, answers.by)
	}

	recorded := rdb.XRangeN(t.Context(), requests, "-", "+", 40).Val()
	for _, e := range recorded {
		if err := rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: requests, Values: e.Values}).Err(); err != nil {
			t.Fatal(err)
		}
		eventually(t, settled(t, rdb, requests))
	}
	answers.oneEach(t, total)
	first.terminate(10 * time.Second)
	// What the first one answered, the second refuses, and the other way round.
	for _, e := range recorded {
		rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: requests, Values: e.Values})
	}
	eventually(t, settled(t, rdb, requests))
	answers.oneEach(t, total)
	second.terminate(10 * time.Second)
}

// Of two processes one is killed every two seconds, under load: no request
// without an answer, none with two.
func TestKilledEveryTwoSeconds(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes 15 seconds")
	}
	server := redistest.Start(t)
	dir := serviceDir(t)
	env := with(serviceEnv(server), "OONA_RECLAIM_IDLE", "1s")
	client := busClient(t, server.URL(), "test")
	answers := watchSources(t, client)
	processes := [2]*process{start(t, dir, env), start(t, dir, env)}
	published, killed := 0, 0
	next := time.Now().Add(2 * time.Second)
	for killed < 6 {
		publishRequests(t, client, published, published+20)
		published += 20
		pass(t, 20*time.Millisecond)
		if time.Now().Before(next) {
			continue
		}
		next = time.Now().Add(2 * time.Second) // after a delay, too, each has its time
		i := killed % 2
		_ = processes[i].cmd.Process.Kill()
		<-processes[i].exited
		processes[i] = start(t, dir, env)
		killed++
	}
	answers.oneEach(t, published)
	t.Logf("%d requests, %d kills, %d processes answered", published, killed, answers.count())
	if answers.count() < 3 {
		t.Errorf("only %d processes answered", answers.count())
	}
	for _, p := range processes {
		eventually(t, func() error { // before that, a signal may end it at once
			return errIf(!strings.Contains(p.stderr.String(), "supervisor booted"), "not booted yet")
		})
		p.terminate(10 * time.Second)
	}
}

// A service with nothing to do sends Redis at most five commands a second, with
// everything in it running; those inside of scripts are counted too.
func TestIdleService(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes 25 seconds")
	}
	server := redistest.Start(t)
	rdb := server.Client()
	s := busClient(t, server.URL(), "test").Streams()
	p := start(t, serviceDir(t), with(serviceEnv(server), "KASMINA_COMMANDS", "true"))
	eventually(t, func() error {
		for _, stream := range []string{s.KernelRequests, s.Emergency} {
			if groups := rdb.XInfoGroups(t.Context(), stream).Val(); len(groups) != 1 {
				return fmt.Errorf("%s has %d groups", stream, len(groups))
			}
		}
		return errIf(rdb.XLen(t.Context(), s.Telemetry).Val() == 0, "no telemetry")
	})
	pass(t, 2*time.Second) // the start is not idle
	const span = 21 * time.Second
	if err := rdb.ConfigResetStat(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	pass(t, span)
	total, counts := commandsOf(t, rdb)
	perSecond := float64(total) / span.Seconds()
	t.Logf("%.2f commands a second: %v", perSecond, counts)
	if perSecond > 5 {
		t.Errorf("%.2f commands a second, want at most 5", perSecond)
	}
	if counts["xadd"] < 2 || counts["xreadgroup"] < 2 || counts["xread"] < 2 {
		t.Errorf("not everything was running: %v", counts)
	}
	p.terminate(10 * time.Second)
}

// commandsOf returns how many commands the server ran, but for those that count
// them.
func commandsOf(t *testing.T, rdb *redis.Client) (total int, counts map[string]int) {
	info, err := rdb.Info(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`^cmdstat_([a-z|]+):calls=(\d+),`)
	counts = make(map[string]int)
	for scan := bufio.NewScanner(strings.NewReader(info)); scan.Scan(); {
		m := line.FindStringSubmatch(scan.Text())
		if m == nil || m[1] == "info" || m[1] == "config|resetstat" {
			continue
		}
		counts[m[1]], _ = strconv.Atoi(m[2])
		total += counts[m[1]]
	}
	return total, counts
}
