package main

import (
	"strings"
	"testing"

	"github.com/esper-lite/esper/leyline"
	"github.com/esper-lite/esper/oona/oonatest/redistest"
)

// TestNoAnswer: whoever waits in vain is told why, as far as it can be seen, and
// no time that the answer took.
func TestNoAnswer(t *testing.T) {
	for _, test := range []struct {
		name string
		says func(*testBus)
		want string
	}{
		{"nobody there", func(*testBus) {}, "no Weatherlight process reports on this bus; start one, or check that REDIS_URL"},
		{"somebody there", func(b *testBus) { b.publish(hostPacket(t, "0123456789ab", isHealthy, "steady")) }, `"status" says what is wrong`},
		{"somebody gone", func(b *testBus) { b.publish(hostPacket(t, "0123456789ab", isHealthy, summaryShutdown)) }, "no Weatherlight process reports"},
		{"another secret", func(b *testBus) {
			keys, err := leyline.NewKeyring(leyline.NewSecret("the secret of the others"))
			if err != nil {
				t.Fatal(err)
			}
			others := &testBus{t, b.url, busClientWith(t, b.url, "others", keys)}
			others.publish(hostPacket(t, "0123456789ab", isHealthy, "steady"), hostPacket(t, "0123456789ab", isHealthy, "steady"))
		}, "no answer in time: 2 messages on the bus without a signature that this command accepts, none with one: give it the ESPER_LEYLINE_SECRET"},
	} {
		t.Run(test.name, func(t *testing.T) {
			bus := newTestBus(t)
			test.says(bus)
			code, stdout, stderr := runCommand(t, bus.environ(), false, (*app).prefetchCommand, "BP001", "--timeout", "1s")
			if code != exitFailed || !strings.Contains(stderr, test.want) {
				t.Errorf("exit code %d: %s, want %s", code, stderr, test.want)
			}
			if !strings.Contains(stdout, "BP001") || !strings.Contains(stdout, "timeout") || strings.Contains(stdout, " ms") {
				t.Errorf("%s", stdout)
			}
		})
	}
}

// TestToolsAreQuiet: whoever asks for one thing is not told at every call what the
// service says of the bus, unless at debug level.
func TestToolsAreQuiet(t *testing.T) {
	t.Chdir(t.TempDir())
	server := redistest.Start(t, "--appendonly", "no")
	environ := []string{"REDIS_URL=" + server.URL(), "ESPER_LEYLINE_SECRET=" + testSecret}
	code, stdout, stderr := runCommand(t, environ, false, (*app).deadletterCommand, "list")
	if code != 0 || stdout != "no dead letters\n" || stderr != "" {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
	if _, _, stderr := runCommand(t, append(environ, "ESP_LOG_LEVEL=DEBUG"), false, (*app).deadletterCommand, "list"); !strings.Contains(stderr, "append-only") {
		t.Errorf("at debug level: %s", stderr)
	}
}
