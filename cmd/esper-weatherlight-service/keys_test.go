package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
	"github.com/esper-lite/esper/oona/oonatest/redistest"
)

// writeKeys replaces a file of secrets as an operator should: by a rename.
func writeKeys(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// A changed file is noticed without a signal, and one that cannot be read leaves
// the keys as they are.
func TestKeyFilesAreReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "secret")
		writeKeys(t, path, "the first secret")
		log := slog.New(slog.DiscardHandler)
		keys, err := openKeys(settings{SecretFile: path}, log)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { keepKeys(ctx, keys, nil, log) })
		signs := func(secret string) bool {
			same, err := leyline.NewKeyring(leyline.NewSecret(secret))
			if err != nil {
				t.Fatal(err)
			}
			return keys.Keyring().Sign([]byte("x")) == same.Sign([]byte("x"))
		}
		writeKeys(t, path, "the second secret")
		time.Sleep(keyReload + time.Millisecond)
		synctest.Wait()
		if !signs("the second secret") {
			t.Error("the change was not noticed")
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * keyReload)
		synctest.Wait()
		if !signs("the second secret") {
			t.Error("the keys are gone with their file")
		}
		cancel()
		running.Wait()
	})
}

// rotation is a running service, a producer, and the files with their keys.
type rotation struct {
	t                 *testing.T
	service           *process
	signing, accepted string // files
	producer          *leyline.Keyring
}

// step gives the service keys, waits until it uses them, and gives them to the
// producer.
func (r *rotation) step(signing string, accepted ...string) {
	r.t.Helper()
	changes := strings.Count(r.service.stderr.String(), "keys changed")
	// First what is accepted: whoever reads in between still has the one that
	// signs, and what it is about to accept.
	writeKeys(r.t, r.accepted, strings.Join(accepted, "\n"))
	writeKeys(r.t, r.signing, signing)
	if err := r.service.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		r.t.Fatal(err)
	}
	eventually(r.t, func() error {
		return errIf(strings.Count(r.service.stderr.String(), "keys changed") == changes, "the service has the old keys")
	})
	var others []leyline.Secret
	for _, a := range accepted {
		others = append(others, leyline.NewSecret(a))
	}
	if err := r.producer.Rotate(leyline.NewSecret(signing), others...); err != nil {
		r.t.Fatal(err)
	}
}

// The secret of a running service changes twice, by its files and SIGHUP, while
// requests pass without a pause: every one is answered, and none refused.
func TestSecretChangesUnderLoad(t *testing.T) {
	t.Parallel()
	const first, second, third = "the first secret of many", "the second secret of many", "the third secret of many"
	server := redistest.Start(t)
	dir := serviceDir(t)
	r := &rotation{t: t, signing: filepath.Join(dir, "signing"), accepted: filepath.Join(dir, "accepted")}
	writeKeys(t, r.signing, first)
	writeKeys(t, r.accepted, "")
	var err error
	if r.producer, err = leyline.NewKeyring(leyline.NewSecret(first)); err != nil {
		t.Fatal(err)
	}
	client := busClientWith(t, server.URL(), "test", r.producer)
	answers := watchAnswers(t, client)
	r.service = start(t, dir, map[string]string{
		"ESPER_LEYLINE_SECRET_FILE": r.signing, "ESPER_LEYLINE_SECRET_ACCEPTED_FILE": r.accepted,
		"LEYLINE_MODE": "strict", "REDIS_URL": server.URL(), "URZA_ARTIFACT_DIR": "./var/urza/artifacts",
	})

	var published atomic.Int64
	done := make(chan struct{})
	var publishing sync.WaitGroup
	publishing.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-done:
				return
			default:
			}
			msg := &pb.KernelPrefetchRequest{RequestId: requestID(n), BlueprintId: "BP001", IssuedAt: timestamppb.Now()}
			if _, err := client.Publish(t.Context(), msg); err != nil {
				t.Error(err)
				return
			}
			published.Add(1)
		}
	})
	underWay := func() { // messages are, that were signed with the keys before
		t.Helper()
		want := published.Load() + 100
		eventually(t, func() error { return errIf(int64(answers.total()) < want, "too few answers") })
	}
	underWay()
	for _, change := range [][2]string{{first, second}, {second, third}} {
		r.step(change[0], change[1]) // accept the new one everywhere
		underWay()
		r.step(change[1], change[0]) // sign with it
		underWay()
		r.step(change[1]) // drop the old one
		underWay()
	}
	close(done)
	publishing.Wait()
	answers.oneEach(t, int(published.Load()))
	r.service.terminate(10 * time.Second)
	if strings.Contains(r.service.stderr.String(), `"refused"`) || client.Refusals().Snapshot() != nil {
		t.Errorf("messages were refused: %v", client.Refusals().Snapshot())
	}
	if n := strings.Count(r.service.stderr.String(), `"signing_changed":true`); n != 2 {
		t.Errorf("the log tells %d times of another key that signs, want 2", n)
	}
	for _, secret := range []string{first, second, third} {
		if strings.Contains(r.service.stderr.String(), secret) {
			t.Error("a secret is in the log")
		}
	}
}

// After a kill -9 the next process refuses every recorded request, whoever
// answered it and whenever, and says so: by stream, type and reason in telemetry,
// and in a log that a flood does not fill.
func TestReplayAfterKill(t *testing.T) {
	t.Parallel()
	const total, copies = 500, 20
	server := redistest.Start(t)
	rdb := server.Client()
	dir := serviceDir(t)
	env := with(serviceEnv(server), "WEATHERLIGHT_TELEMETRY_INTERVAL", "200ms", "OONA_RECLAIM_IDLE", "1s")
	client := busClient(t, server.URL(), "test")
	answers := watchAnswers(t, client)
	packets := watchPackets(t, client, "")
	requests := client.Streams().KernelRequests
	killed := start(t, dir, env)
	publishRequests(t, client, 0, total)
	eventually(t, func() error { return errIf(answers.total() == 0, "no answers") })
	_ = killed.cmd.Process.Kill()
	<-killed.exited
	recorded := rdb.XRange(t.Context(), requests, "-", "+").Val()
	if len(recorded) != total {
		t.Fatalf("%d entries on the stream", len(recorded))
	}
	next := start(t, dir, env)
	for range copies {
		pipe := rdb.Pipeline() // one by one they may be stale before the last is there
		for _, e := range recorded {
			pipe.XAdd(t.Context(), &redis.XAddArgs{Stream: requests, Values: e.Values})
		}
		if _, err := pipe.Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	answers.oneEach(t, total)
	eventually(t, settled(t, rdb, requests))
	answers.oneEach(t, total)
	eventually(t, func() error {
		var refused float64
		for _, p := range packets.from("weatherlight") {
			for _, m := range p.GetMetrics() {
				if m.GetName() == "oona.refused.replayed" && m.GetAttributes()["stream"] == requests && m.GetAttributes()["type"] == "KERNEL_PREFETCH_REQUEST" {
					refused = m.GetValue()
				}
			}
		}
		return errIf(refused != total*copies, "telemetry does not count every replay")
	})
	next.terminate(10 * time.Second)
	if lines := strings.Count(next.stderr.String(), "replayed"); lines == 0 || lines > 200 {
		t.Errorf("%d lines of log about %d replays", lines, total*copies)
	}
}

// busClientWith is busClient with keys of its own, in mode strict.
func busClientWith(t *testing.T, url, consumer string, keys *leyline.Keyring) *oona.Client {
	t.Helper()
	codec, err := leyline.NewCodec(leyline.CodecConfig{Keys: keys, Source: "test/here-1"})
	if err != nil {
		t.Fatal(err)
	}
	client, err := oona.Connect(t.Context(), oona.Config{URL: url, Codec: codec, Consumer: consumer, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// While the file of the accepted secrets is away a command does its work with the
// secret that signs, and says so; without that one it does not.
func TestToolsWithoutAcceptedSecrets(t *testing.T) {
	bus := newTestBus(t)
	bus.publish(hostPacket(t, "0123456789ab", isHealthy, "steady"))
	environ := bus.environ("ESPER_LEYLINE_SECRET_ACCEPTED_FILE=away", "LOG_FORMAT=json")
	for _, test := range []struct {
		command func(*app) *cobra.Command
		args    []string
	}{
		{(*app).statusCommand, nil}, {(*app).healthcheckCommand, nil}, {(*app).deadletterCommand, []string{"list"}},
	} {
		code, stdout, stderr := runCommand(t, environ, false, test.command, test.args...)
		if code != 0 || stdout == "" || !strings.Contains(stderr, `"level":"WARN"`) || !strings.Contains(stderr, "ESPER_LEYLINE_SECRET_ACCEPTED_FILE") {
			t.Errorf("exit code %d: %s%s", code, stdout, stderr)
		}
		code, _, stderr = runCommand(t, append(environ, "ESPER_LEYLINE_SECRET=", "ESPER_LEYLINE_SECRET_FILE=away too"), false, test.command, test.args...)
		if code != exitUsage || !strings.Contains(stderr, "ESPER_LEYLINE_SECRET_FILE: ") {
			t.Errorf("without the secret: exit code %d: %s", code, stderr)
		}
	}
}
