package oonatest_test

import (
	"context"
	"fmt"
	"log"

	"github.com/redis/go-redis/v9"

	"github.com/esper-lite/esper/leyline"
	"github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
	"github.com/esper-lite/esper/oona/oonatest"
)

func newCodec() *leyline.Codec {
	keys, err := leyline.NewKeyring(leyline.NewSecret("an example is no place for a secret"))
	if err != nil {
		log.Fatal(err)
	}
	codec, err := leyline.NewCodec(leyline.CodecConfig{Keys: keys})
	if err != nil {
		log.Fatal(err)
	}
	return codec
}

// A bus for a test, without a Redis and without a socket.
func ExampleNew() {
	bus := oonatest.New()
	defer bus.Close()
	rdb := bus.Redis()
	defer func() { _ = rdb.Close() }()
	client, err := oona.New(context.Background(), rdb, oona.Config{Codec: newCodec()})
	if err != nil {
		log.Fatal(err)
	}
	receipts, err := client.Publish(context.Background(), &leylinepb.FieldReport{ReportId: "1"})
	fmt.Println(receipts[0].Stream, err)
	// Output: oona.normal <nil>
}

// A connection that breaks before the reply to the second command arrives: the
// message was published, and nobody knows.
func ExampleFaults() {
	bus := oonatest.New()
	defer bus.Close()
	faults := oonatest.NewFaults(bus.Dial)
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379", MaxRetries: -1, Dialer: faults.Dial})
	defer func() { _ = rdb.Close() }()
	client, err := oona.New(context.Background(), rdb, oona.Config{Codec: newCodec()})
	if err != nil {
		log.Fatal(err)
	}
	faults.Plan(func(_ int, command string) oonatest.Fault {
		if command == "XADD" {
			return oonatest.Fault{Kind: oonatest.BreakAfter}
		}
		return oonatest.Fault{}
	})
	_, err = client.Publish(context.Background(), &leylinepb.FieldReport{ReportId: "1"})
	fmt.Println(err)
	fmt.Println(rdb.XLen(context.Background(), "oona.normal").Val(), "published")
	// Output:
	// oona: publish to oona.normal: oona: the outcome is not known: oonatest: connection broken by a fault: EOF
	// 1 published
}
