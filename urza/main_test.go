package urza_test

import (
	"fmt"
	"os"
	"runtime"
	"testing"
)

// helperVariable, where set, makes the test binary a helper process: it does
// what the value names in the working directory, and exits.
const helperVariable = "URZA_TEST_HELPER"

var helpers = map[string]func() error{}

func init() {
	if os.Getenv(helperVariable) != "" {
		// What a helper does happens on the thread that tracers know as the
		// process, so that its system calls can be counted.
		runtime.LockOSThread()
	}
}

func TestMain(m *testing.M) {
	name := os.Getenv(helperVariable)
	if name == "" {
		os.Exit(m.Run())
	}
	help, ok := helpers[name]
	if !ok {
		fmt.Fprintln(os.Stderr, "no helper", name)
		os.Exit(2)
	}
	if err := help(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// helperEnv is the environment of a helper process.
func helperEnv(name string) []string {
	return append(os.Environ(), helperVariable+"="+name, "GOMAXPROCS=2")
}

// strict reports that what cannot be tested here has to fail instead of being
// skipped.
func strict() bool { return os.Getenv("WEATHERLIGHT_TEST_STRICT") == "1" }
