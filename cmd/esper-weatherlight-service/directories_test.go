package main

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

// TestDirectoryErrors name the setting and the whole path.
func TestDirectoryErrors(t *testing.T) {
	bus := newTestBus(t)
	for _, test := range []struct {
		environ string
		command func(*app) *cobra.Command
		want    []string
	}{
		{"URZA_ARTIFACT_DIR=/proc/nowhere/a", nil, []string{`URZA_ARTIFACT_DIR="/proc/nowhere/a": `, "mkdir /proc/nowhere: "}},
		{"URZA_ARTIFACT_DIR=/proc/a", nil, []string{`URZA_ARTIFACT_DIR="/proc/a": `, "artifact directory /proc/a: "}},
		{"URZA_DATABASE_URL=sqlite:////proc/nowhere/c.db", nil, []string{`URZA_DATABASE_URL="sqlite:////proc/nowhere/c.db": `, "mkdir /proc/nowhere: "}},
		{"TAMIYO_POLICY_DIR=/proc/nowhere", nil, []string{`TAMIYO_POLICY_DIR="/proc/nowhere": `, "mkdir /proc/nowhere: "}},
		{"URZA_ARTIFACT_DIR=/proc/nowhere/a", (*app).urzaListCommand, []string{`URZA_ARTIFACT_DIR="/proc/nowhere/a": `}},
		{"TAMIYO_POLICY_DIR=/dev/null", (*app).policyShowCommand, []string{`TAMIYO_POLICY_DIR="/dev/null": `, "/dev/null"}},
	} {
		command := test.command
		if command == nil {
			command = (*app).runCommand
		}
		code, _, stderr := runCommand(t, bus.environ(test.environ, "ESP_LOG_LEVEL=CRITICAL"), false, command)
		for _, want := range test.want {
			if code != exitFailed || !strings.Contains(stderr, want) {
				t.Errorf("%s: exit code %d: %s, want %s", test.environ, code, stderr, want)
			}
		}
	}
}

// TestConfigShowsPaths: where a relative path leads.
func TestConfigShowsPaths(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	code, stdout, stderr := runCommand(t, []string{"TAMIYO_POLICY_DIR=/var/policies", "ESPER_LEYLINE_SECRET_FILE=keys/secret"}, false, (*app).configCommand)
	if code != 0 {
		t.Fatal(stderr)
	}
	text := strings.Join(strings.Fields(stdout), " ")
	for _, want := range []string{
		"URZA_ARTIFACT_DIR ./var/urza/artifacts (" + filepath.Join(dir, "var/urza/artifacts") + ") default",
		"URZA_DATABASE_URL sqlite:///./var/urza/catalog.db (" + filepath.Join(dir, "var/urza/catalog.db") + ") default",
		"ESPER_LEYLINE_SECRET_FILE keys/secret (" + filepath.Join(dir, "keys/secret") + ") set",
		"TAMIYO_POLICY_DIR /var/policies set",
		"ESPER_LEYLINE_SECRET_ACCEPTED_FILE (not set) default",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, stdout)
		}
	}
	for value, want := range map[string]string{
		"sqlite://": "", "sqlite:///:memory:": "", "sqlite:////a/b.db?mode=ro": "/a/b.db", "sqlite+pysqlite:///b.db": filepath.Join(dir, "b.db"), "nonsense": "",
	} {
		if got := namedPath("URZA_DATABASE_URL", value); got != want {
			t.Errorf("%s is at %q, want %q", value, got, want)
		}
	}
}

// TestListenErrors: an address that is taken, and one that everybody reaches.
func TestListenErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	env := map[string]string{"ESPER_LEYLINE_SECRET": testSecret}
	code, _, stderr := runProgram(t, t.TempDir(), env, "run", "--embedded", "--listen", taken.Addr().String())
	if want := "--listen " + taken.Addr().String() + ": something listens there already; if it is a Redis, leave out --embedded"; code != exitUsage || !strings.Contains(stderr, want) {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	for address, beyond := range map[string]bool{"127.0.0.1:0": false, ":0": true} {
		service := start(t, t.TempDir(), env, "run", "--embedded", "--listen", address)
		eventually(t, func() error { return errIf(!strings.Contains(service.stderr.String(), "booted"), "it does not boot") })
		service.terminate(10 * time.Second)
		if strings.Contains(service.stderr.String(), "beyond this host") != beyond {
			t.Errorf("%s: %s", address, service.stderr.String())
		}
	}
}
