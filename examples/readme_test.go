package examples_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// maxProgramLines is how long the README's program may be, blank lines and the
// import block left out: longer ones are not read.
const maxProgramLines = 20

// TestReadmeProgram: the program in the README is the example, which is built and
// run here, word for word.
func TestReadmeProgram(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, begins := strings.Cut(string(readme), "\n```go\n")
	program, rest, ends := strings.Cut(rest, "\n```\n")
	if !begins || !ends {
		t.Fatal("the README has no program")
	}
	if strings.Contains(rest, "\n```go\n") {
		t.Error("the README has a second program, which nobody compares with an example")
	}
	example, err := os.ReadFile("worker/main.go")
	if err != nil {
		t.Fatal(err)
	}
	_, source, _ := strings.Cut(string(example), "\npackage ")
	if diff := cmp.Diff("package "+source, program+"\n"); diff != "" {
		t.Errorf("the README's program is not examples/worker (-example +README):\n%s", diff)
	}
	_, body, _ := strings.Cut(program, "\n)\n")
	lines := 0
	for line := range strings.SplitSeq(body, "\n") {
		if line != "" {
			lines++
		}
	}
	if lines > maxProgramLines {
		t.Errorf("the README's program has %d lines, more than %d", lines, maxProgramLines)
	}
}

// TestReadmeCommands runs what the README says under "Run it", in a folder of its
// own, with the binary of this source and a port of its own.
func TestReadmeCommands(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, begins := strings.Cut(string(readme), "\n## Run it\n\n```sh\n")
	install, rest, installs := strings.Cut(rest, "\n\n")
	script, _, ends := strings.Cut(rest, "```\n")
	if !begins || !installs || !ends || !strings.HasPrefix(install, "go install ./cmd/esper-weatherlight-service ") {
		t.Fatal("the README does not say how to install and run it")
	}
	bin := t.TempDir()
	build(t, bin, "../cmd/esper-weatherlight-service")
	addr := freeAddress(t)
	script = `trap '[ -z "${!-}" ] || kill $!' EXIT` + "\n" + // also when a command fails
		strings.Replace(script, "--embedded", "--embedded --listen "+addr, 1) +
		"trap - EXIT; kill $!; wait $!\n"

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	shell := exec.CommandContext(ctx, "sh", "-euc", script)
	shell.Dir = t.TempDir()
	shell.WaitDelay = time.Second
	shell.Env = []string{"PATH=" + bin + string(filepath.ListSeparator) + os.Getenv("PATH"), "REDIS_URL=redis://" + addr + "/0"}
	out, err := shell.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{
		"BP001      ready   " + filepath.Join(shell.Dir, "var/urza/artifacts/BP001-"), // the answer, absolute
		"shutdown complete",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
}
