package main

import (
	"bufio"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/esper-lite/esper/leyline"
	"github.com/esper-lite/esper/oona"
	"github.com/esper-lite/esper/oona/oonatest"
)

// TestMain lets this binary be nissa.
func TestMain(m *testing.M) {
	if os.Getenv("NISSA_TEST_PROCESS") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// writeKeys replaces a file by renaming, as operators should.
func writeKeys(t *testing.T, path string, secrets ...string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(strings.Join(secrets, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// linesOf passes on the lines of a stream.
func linesOf(r io.Reader) <-chan string {
	lines := make(chan string, 1000)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(r); s.Scan(); {
			lines <- s.Text()
		}
	}()
	return lines
}

// next returns the next line that has all of these.
func next(t *testing.T, lines <-chan string, parts ...string) string {
	t.Helper()
	deadline := time.After(20 * time.Second)
	var passed []string
lines:
	for {
		select {
		case line, ok := <-lines:
			if !ok {
				t.Fatalf("the stream ended without %q: %q", parts, passed)
			}
			passed = append(passed, line)
			for _, part := range parts {
				if !strings.Contains(line, part) {
					continue lines
				}
			}
			return line
		case <-deadline:
			t.Fatalf("no line with %q: %q", parts, passed)
		}
	}
}

// TestRotation: the three steps of a rotation while nissa runs, told by SIGHUP, which
// does not end it; it takes what is signed with the old key and with the new one.
func TestRotation(t *testing.T) {
	server, err := oonatest.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	const before, after = "the secret before", "the secret after"
	dir := t.TempDir()
	signing, accepted := filepath.Join(dir, "secret"), filepath.Join(dir, "accepted")
	writeKeys(t, signing, before)
	writeKeys(t, accepted)

	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "NISSA_TEST_PROCESS=1", "NISSA_ADDR=127.0.0.1:0", "NISSA_DOCUMENTS=-", "REDIS_URL="+server.URL(),
		"ESPER_LEYLINE_SECRET=", "ESPER_LEYLINE_SECRET_FILE="+signing, "ESPER_LEYLINE_SECRET_ACCEPTED_FILE="+accepted)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	documents, log := linesOf(stdout), linesOf(stderr)
	next(t, log, "receiving telemetry")

	producer, err := leyline.NewKeyring(leyline.NewSecret(before))
	if err != nil {
		t.Fatal(err)
	}
	codec, err := leyline.NewCodec(leyline.CodecConfig{Keys: producer, Source: "test/here-1"})
	if err != nil {
		t.Fatal(err)
	}
	rdb := server.Redis()
	defer rdb.Close()
	bus, err := oona.New(t.Context(), rdb, oona.Config{Codec: codec, Consumer: "test"})
	if err != nil {
		t.Fatal(err)
	}
	arrives := func(source string) {
		t.Helper()
		if _, err := bus.Publish(t.Context(), packetOf(source, "x")); err != nil {
			t.Fatal(err)
		}
		next(t, documents, source)
	}
	hangUp := func(parts ...string) {
		t.Helper()
		if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		next(t, log, append(parts, `"keys changed"`)...)
	}
	arrives("at-the-start")
	writeKeys(t, accepted, after)
	hangUp(`"accepted":2`, `"signing_changed":false`)
	arrives("both-accepted")
	if err := producer.Rotate(leyline.NewSecret(after), leyline.NewSecret(before)); err != nil {
		t.Fatal(err)
	}
	arrives("others-sign-with-the-new-one")
	writeKeys(t, accepted, before, after)
	writeKeys(t, signing, after)
	hangUp(`"signing_changed":true`)
	arrives("signs-with-the-new-one")
	writeKeys(t, accepted)
	hangUp(`"accepted":1`)
	arrives("the-old-one-is-dropped")

	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	next(t, log, "shutdown complete")
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// TestKeysAreReadAgain: a change is noticed without a signal; a file that is away
// leaves the keys as they are, and is told of once.
func TestKeysAreReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	writeKeys(t, path, "the secret before")
	t.Setenv("ESPER_LEYLINE_SECRET", "")
	t.Setenv("ESPER_LEYLINE_SECRET_FILE", path)
	synctest.Test(t, func(t *testing.T) {
		keys, err := openKeys()
		if err != nil {
			t.Fatal(err)
		}
		told := new(documentLog)
		hangup := make(chan os.Signal)
		go keepKeys(t.Context(), keys, hangup, slog.New(slog.NewJSONHandler(told, nil)))
		says := func(want ...string) {
			t.Helper()
			synctest.Wait()
			var got []string
			for _, line := range told.lines() {
				var record struct{ Msg string }
				if err := json.Unmarshal([]byte(line), &record); err != nil {
					t.Fatalf("%v: %q", err, line)
				}
				got = append(got, record.Msg)
			}
			if strings.Join(got, "; ") != strings.Join(want, "; ") {
				t.Errorf("the log says %q, want %q", got, want)
			}
		}
		const changed, failed = "keys changed", "keys could not be read again; those in use stay"
		writeKeys(t, path, "the secret after")
		time.Sleep(keyReload + time.Millisecond)
		says(changed)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * keyReload)
		says(changed, failed)
		hangup <- syscall.SIGHUP
		says(changed, failed, failed)
		same, err := leyline.NewKeyring(leyline.NewSecret("the secret after"))
		if err != nil || keys.Keyring().Sign([]byte("x")) != same.Sign([]byte("x")) {
			t.Errorf("the keys went with their file, %v", err)
		}
	})
}
