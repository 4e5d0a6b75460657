package oona_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/esper-lite/esper/leyline"
	"github.com/esper-lite/esper/oona"
	"github.com/esper-lite/esper/oona/oonatest/redistest"
)

// A message that ends the process in its handler, again and again, ends in the
// dead letters; those that were held with it are served.
func TestMessageThatKillsTheProcess(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts processes")
	}
	server := redistest.Start(t)
	rdb := server.Client()
	c := newClient(t, rdb, "publisher")
	stream := c.Streams().KernelRequests
	publish(t, c, requests(40)...)
	publish(t, c, request("killer"))
	for i := 40; i < 80; i++ {
		publish(t, c, request(fmt.Sprintf("req-%d", i)))
	}
	deaths := 0
	for done := false; !done; {
		p := spawn(t, server.URL(), fmt.Sprintf("child-%d", deaths), time.Second)
		eventuallyWithin(t, 20*time.Second, func() error {
			select {
			case <-p.done:
				deaths++
				return nil
			default:
			}
			err := settled(t, rdb, stream, 81)()
			done = err == nil
			return err
		})
		p.kill()
		if deaths > 8 {
			t.Fatal("the killer goes on killing")
		}
	}
	oneEach(t, answers(t, rdb, c.Streams()), 80)
	dead := rdb.XRange(t.Context(), c.Streams().DeadLetter, "-", "+").Val()
	if len(dead) != 1 || dead[0].Values["reason"] != string(leyline.DeliveriesExhausted) {
		t.Errorf("dead letters: %v", dead)
	}
	if deaths != 5 {
		t.Errorf("it killed %d processes, want 5: two in company, three alone", deaths)
	}
}

// Suspects run one at a time with nothing beside them, and the others get their
// turn in between.
func TestSuspectsRunAlone(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, "a")
		stream := c.Streams().KernelRequests
		publish(t, c, requests(20)...)
		for _, e := range readAs(t, rdb, stream, "dead", 20) {
			if err := rdb.Do(t.Context(), "xclaim", stream, "weatherlight", "dead", 0, e.ID, "idle", 60000, "retrycount", 2).Err(); err != nil {
				t.Fatal(err)
			}
		}
		for i := 20; i < 120; i++ {
			publish(t, c, request(fmt.Sprintf("req-%d", i)))
		}
		alone := &companions{t: t, suspects: 20}
		consume(t, c, oona.Subscription{ReclaimIdle: time.Second, Batch: 10, Workers: 4}, alone)
		eventually(t, settled(t, rdb, stream, 120))
		oneEach(t, answers(t, rdb, c.Streams()), 120)
		if n := rdb.HLen(t.Context(), "oona:failures:weatherlight:"+stream).Val(); n != 0 {
			t.Errorf("%d records left", n)
		}
	})
}
