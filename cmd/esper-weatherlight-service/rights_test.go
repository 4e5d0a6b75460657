package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/esper-lite/esper/oona/oonatest/redistest"
)

// aclBlock is a user of the manual, as it stands there.
var aclBlock = regexp.MustCompile("(?s)<!-- acl: (\\w+) -->\n```\n(.+?)\n```\n<!-- acl: end -->")

// trainerGoesWithout is what a trainer's client tries and can do without, as the
// manual says.
var trainerGoesWithout = []string{"eval", "evalsha", "config|get"}

// TestManualRights: with the users of the manual, and none that may do more, a
// trainer is served, and Redis refuses nothing else.
func TestManualRights(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	admin := redisClient(t, server.URL())
	users := make(map[string]string)
	for _, block := range aclBlock.FindAllStringSubmatch(readManual(t), -1) {
		var args []any
		for word := range strings.FieldsSeq(block[2]) {
			args = append(args, word)
		}
		if err := admin.Do(t.Context(), args...).Err(); err != nil {
			t.Fatalf("%s: %v", block[2], err)
		}
		users[block[1]] = strings.Replace(server.URL(), "redis://", "redis://"+strings.Fields(block[2])[2]+":PASSWORD@", 1)
	}
	if users["service"] == "" || users["trainer"] == "" {
		t.Fatalf("the manual has the users %v", users)
	}
	dir := serviceDir(t)
	env := with(serviceEnv(server), "REDIS_URL", users["service"], "WEATHERLIGHT_TELEMETRY_INTERVAL", "200ms", "KASMINA_COMMANDS", "true")
	service := start(t, dir, env)
	trainer := busClient(t, users["trainer"], "trainer")
	answers := watchAnswers(t, trainer)
	publishRequests(t, trainer, 0, 10)
	answers.oneEach(t, 10)
	for _, args := range [][]string{{"status"}, {"healthcheck"}, {"prefetch", "BP001"}, {"deadletter", "list"}} {
		if code, stdout, stderr := runProgram(t, dir, env, args...); code != 0 {
			t.Errorf("%v: exit code %d: %s%s", args, code, stdout, stderr)
		}
	}
	service.terminate(10 * time.Second)
	refused, err := admin.ACLLog(t.Context(), -1).Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range refused {
		if entry.Username == "trainer" && slices.Contains(trainerGoesWithout, entry.Object) {
			continue
		}
		t.Errorf("redis refuses %s: %s %s", entry.Username, entry.Reason, entry.Object)
	}
}
