package urza_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/esper-lite/esper/urza"
)

// savesVariable sets how many saves the two processes of TestTwoProcessesWrite
// make together.
const savesVariable = "URZA_WRITER_SAVES"

func init() {
	helpers["writer"] = func() (err error) {
		ctx := context.Background()
		l, err := urza.Open(ctx, urza.Config{})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, l.Close()) }()
		name := os.Getenv("URZA_WRITER_NAME")
		saves, err := strconv.Atoi(os.Getenv(savesVariable))
		if err != nil {
			return err
		}
		for i := range saves / 2 {
			id := fmt.Sprintf("%s-%d", name, i)
			if i%10 == 9 {
				id = name + "-again" // replaces its artifact every time
			}
			if _, err := l.Add(ctx, urza.Addition{BlueprintID: id, Reader: strings.NewReader("content of " + id)}); err != nil {
				return fmt.Errorf("add %d: %w", i, err)
			}
			if _, err := l.Update(ctx, "SHARED", func(r *urza.Record) error {
				var n int
				if err := json.Unmarshal(r.Extra["count"], &n); err != nil {
					return err
				}
				r.Extra["count"] = json.RawMessage(strconv.Itoa(n + 1))
				return nil
			}); err != nil {
				return fmt.Errorf("update %d: %w", i, err)
			}
		}
		return nil
	}
}

func TestTwoProcessesWrite(t *testing.T) {
	saves := 60
	if n, err := strconv.Atoi(os.Getenv(savesVariable)); err == nil {
		saves = n
	}
	dir := t.TempDir()
	l := open(t, urza.Config{WorkDir: dir, RefreshInterval: 50 * time.Millisecond})
	if _, err := l.Add(t.Context(), urza.Addition{BlueprintID: "SHARED", Reader: strings.NewReader("shared"), Edit: func(r *urza.Record) error {
		r.Extra["count"] = json.RawMessage("0")
		return nil
	}}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for _, name := range []string{"one", "two"} {
		wg.Go(func() {
			self, err := os.Executable()
			if err != nil {
				t.Error(err)
				return
			}
			cmd := exec.CommandContext(t.Context(), self)
			cmd.Dir = dir
			cmd.Env = append(helperEnv("writer"), "URZA_WRITER_NAME="+name, fmt.Sprintf("%s=%d", savesVariable, saves))
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Run(); err != nil {
				t.Errorf("%s: %v\n%s", name, err, &out)
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for served := 0; ; served++ {
		if _, err := l.Resolve(t.Context(), "SHARED"); err != nil {
			t.Errorf("while others write: %v", err)
		}
		if _, err := l.Resolve(t.Context(), "one-again"); err != nil && !errors.Is(err, urza.ErrNotFound) {
			t.Errorf("a record that is replaced all the time: %v", err)
		}
		select {
		case <-done:
			t.Logf("%d saves, %d requests served meanwhile", saves, 2*served)
		default:
			continue
		}
		break
	}
	checkWritten(t, dir, saves)
}

func checkWritten(t *testing.T, dir string, saves int) {
	t.Helper()
	l := open(t, urza.Config{WorkDir: dir})
	shared, err := l.Record(t.Context(), "SHARED")
	if err != nil {
		t.Fatal(err)
	}
	each := saves / 2
	if got := string(shared.Extra["count"]); got != strconv.Itoa(2*each) {
		t.Errorf("%s of %d updates are there", got, 2*each)
	}
	for _, name := range []string{"one", "two"} {
		for i := range each {
			id := fmt.Sprintf("%s-%d", name, i)
			if i%10 == 9 {
				id = name + "-again"
			}
			if a, err := l.Resolve(t.Context(), id); err != nil || a.Checksum != sumOf("content of "+id) {
				t.Errorf("%s: %v", id, err)
			}
		}
	}
	if files, want := len(artifacts(t, dir)), len(l.List(urza.Query{})); files != want {
		t.Errorf("%d files for %d records", files, want)
	}
}
