package main

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona/oonatest/redistest"
)

// TestLevelChangesAtRunTime: a signal switches to debug level, at which every
// request that was handled is a line that says who asked for what, and the next
// one switches back.
func TestLevelChangesAtRunTime(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	client := busClient(t, redis.URL(), "test")
	answers := watchAnswers(t, client)
	service := start(t, serviceDir(t), with(serviceEnv(redis), "WEATHERLIGHT_METRICS_ADDR", "127.0.0.1:0"))
	says := func(text string, times int) {
		t.Helper()
		eventually(t, func() error {
			return errIf(strings.Count(service.stderr.String(), text) < times, "the log does not say "+text)
		})
	}
	says(`"msg":"supervisor booted"`, 1)
	url := servedAt(t, service)
	ask := func(n int) {
		t.Helper()
		for i := answers.total(); i < n; i++ {
			if _, err := client.Publish(t.Context(), &pb.KernelPrefetchRequest{RequestId: requestID(i), BlueprintId: "BP001", IssuedAt: timestamppb.Now()}); err != nil {
				t.Fatal(err)
			}
		}
		answers.oneEach(t, n)
		eventually(t, func() error { // what is let go has been logged
			_, page := get(t, url+"/metrics")
			return errIf(!strings.Contains(page, "esper_oona_held 0\n"), "the service still holds a request")
		})
	}
	change := func(level string) {
		t.Helper()
		if err := service.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		says(`"msg":"log level changed","level":"`+level+`"`, 1)
	}
	ask(1)
	change("DEBUG")
	ask(2)
	says(`"request_id":"req-1","blueprint_id":"BP001","source":"test/here-1","answers":1`, 1)
	change("INFO")
	ask(3)
	service.terminate(10 * time.Second)
	for _, id := range []string{"req-0", "req-2"} {
		if strings.Contains(service.stderr.String(), id) {
			t.Errorf("%s is in the log, though it was answered at level INFO", id)
		}
	}
}
