package oona_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/esper-lite/esper/oona"
	"github.com/esper-lite/esper/oona/oonatest"
)

// While Redis fails, in whatever way, everything that runs tries again, and not
// in a hot loop; and it goes on when Redis is back.
func TestNoHotLoopWhileRedisFails(t *testing.T) {
	for name, fault := range map[string]oonatest.Fault{
		"connections break": {Kind: oonatest.BreakBefore},
		"replies are lost":  {Kind: oonatest.BreakAfter},
		"loading":           {Kind: oonatest.Refused, Reply: "LOADING Redis is loading the dataset in memory"},
		"read only":         {Kind: oonatest.Refused, Reply: "READONLY You can't write against a read only replica."},
		"group lost":        {Kind: oonatest.Refused, Reply: "NOGROUP No such key or consumer group"},
		"no rights":         {Kind: oonatest.Refused, Reply: "NOPERM this user has no permissions"},
		"unknown":           {Kind: oonatest.Refused},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				bus := oonatest.New()
				defer bus.Close()
				f := oonatest.NewFaults(bus.Dial)
				rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379", MaxRetries: -1, Dialer: f.Dial})
				defer func() { _ = rdb.Close() }()
				clean := bus.Redis()
				defer func() { _ = clean.Close() }()
				c, err := oona.New(t.Context(), rdb, oona.Config{Codec: newCodec(t), Consumer: "a", Logger: slog.New(slog.DiscardHandler)})
				if err != nil {
					t.Fatal(err)
				}
				s := c.Streams()
				tail, err := c.Tail(t.Context(), s.KernelReady, s.Policy)
				if err != nil {
					t.Fatal(err)
				}
				keep := housekeeper(t, c, oona.Housekeeping{Group: "weatherlight"})
				var seen journal
				stops := []func(){
					start(t, c, oona.Subscription{}, answering()),
					start(t, c, oona.Subscription{Stream: s.Emergency, Others: oona.AcknowledgeOthers}, answering()),
					follow(t, c, oona.Following{From: tail}, &seen),
					startKeeping(t, keep),
				}
				time.Sleep(10 * time.Second)

				const away = 5 * time.Minute
				f.Plan(func(int, string) oonatest.Fault { return fault })
				time.Sleep(away)
				// Three readers try every two seconds, ±25 %, with up to three commands;
				// the keepers' upkeep comes on top.
				if n := len(f.Commands()); n > int(away.Seconds())*6 {
					t.Errorf("%d commands in %v", n, away)
				} else if n < 30 {
					t.Errorf("only %d commands in %v: nobody looks whether Redis is back", n, away)
				}
				f.Plan(nil)
				publish(t, newClient(t, clean, "b"), request("req-0"))
				time.Sleep(10 * time.Second)
				oneEach(t, answers(t, clean, s), 1)
				if len(seen.ids) != 1 {
					t.Errorf("followed %v", seen.ids)
				}
				for _, stop := range stops {
					stop()
				}
			})
		})
	}
}

// startKeeping runs a housekeeper in a bubble.
func startKeeping(t *testing.T, keep *oona.Housekeeper) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = keep.Run(ctx) })
	return func() { cancel(); wg.Wait() }
}
