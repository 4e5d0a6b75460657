package examples_test

import (
	"os"
	"strings"
	"testing"

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
