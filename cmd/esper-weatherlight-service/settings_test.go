package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestWrongSettings: one line on stderr that names the variable or flag, and
// exit code 2.
func TestWrongSettings(t *testing.T) {
	if _, err := binary(); err != nil { // built before anything is timed
		t.Fatal(err)
	}
	secret := map[string]string{"ESPER_LEYLINE_SECRET": testSecret}
	for _, test := range []struct {
		name  string
		env   map[string]string
		args  []string
		names string
	}{
		{"no secret", nil, nil, "openssl rand -hex 32"},
		{"empty secret", with(nil, "ESPER_LEYLINE_SECRET", ""), nil, "ESPER_LEYLINE_SECRET"},
		{"blank secret", with(nil, "ESPER_LEYLINE_SECRET", " \t "), nil, "ESPER_LEYLINE_SECRET"},
		{"secret twice", with(secret, "ESPER_LEYLINE_SECRET_FILE", "x"), nil, "ESPER_LEYLINE_SECRET and ESPER_LEYLINE_SECRET_FILE are both set: set one of them, not both"},
		{"accepted twice", with(secret, "ESPER_LEYLINE_SECRET_ACCEPTED", "a", "ESPER_LEYLINE_SECRET_ACCEPTED_FILE", "x"), nil, "ESPER_LEYLINE_SECRET_ACCEPTED and ESPER_LEYLINE_SECRET_ACCEPTED_FILE are both set"},
		{"secret file missing", with(nil, "ESPER_LEYLINE_SECRET_FILE", "nowhere"), nil, "ESPER_LEYLINE_SECRET_FILE"},
		{"accepted file missing", with(secret, "ESPER_LEYLINE_SECRET_ACCEPTED_FILE", "nowhere"), nil, "ESPER_LEYLINE_SECRET_ACCEPTED_FILE"},
		{"weak secret in strict mode", with(secret, "LEYLINE_MODE", "strict"), nil, "ESPER_LEYLINE_SECRET"},
		{"mode", with(secret, "LEYLINE_MODE", "lax"), nil, "LEYLINE_MODE"},
		{"window", with(secret, "KERNEL_FRESHNESS_WINDOW_MS", "1m"), nil, "KERNEL_FRESHNESS_WINDOW_MS"},
		{"window of nothing", with(secret, "KERNEL_FRESHNESS_WINDOW_MS", "0"), nil, "KERNEL_FRESHNESS_WINDOW_MS"},
		{"queue of nothing", with(secret, "OONA_MAX_QUEUE_DEPTH", "0"), nil, "OONA_MAX_QUEUE_DEPTH"},
		{"no emergencies", with(secret, "OONA_EMERGENCY_PER_MINUTE", "-1"), nil, "OONA_EMERGENCY_PER_MINUTE"},
		{"duration", with(secret, "WEATHERLIGHT_BOOT_TIMEOUT", "30"), nil, "WEATHERLIGHT_BOOT_TIMEOUT"},
		{"log level", with(secret, "ESP_LOG_LEVEL", "chatty"), nil, "ESP_LOG_LEVEL"},
		{"address", with(secret, "REDIS_URL", "http://:hunter2@localhost"), nil, "REDIS_URL"},
		{"address that does not parse", with(secret, "REDIS_URL", "redis://:hunter2@local host:x"), nil, "REDIS_URL"},
		{"streams", with(secret, "OONA_POLICY_STREAM", "oona.normal"), nil, "OONA_"},
		{"catalogue", with(secret, "URZA_DATABASE_URL", "postgres://x/y"), nil, "service: URZA_DATABASE_URL: urza: database URL"},
		{"artifacts at the root", with(secret, "URZA_ARTIFACT_DIR", "/"), nil, "service: URZA_ARTIFACT_DIR: urza: artifact directory"},
		{"word for a number", with(secret, "OONA_MAX_ATTEMPTS", "abc"), nil, `OONA_MAX_ATTEMPTS="abc": not a whole number`},
		{"number too large", with(secret, "OONA_MESSAGE_TTL_MS", "9223372036854775808"), nil, `OONA_MESSAGE_TTL_MS="9223372036854775808": too large`},
		{"word for a bool", with(secret, "KASMINA_COMMANDS", "perhaps"), nil, `KASMINA_COMMANDS="perhaps": neither true nor false`},
		{"metrics address", with(secret, "WEATHERLIGHT_METRICS_ADDR", "9090"), nil, "WEATHERLIGHT_METRICS_ADDR"},
		{"metrics port", with(secret, "WEATHERLIGHT_METRICS_ADDR", ":everything"), nil, "WEATHERLIGHT_METRICS_ADDR"},
		{"flag", secret, []string{"--verbose"}, "--verbose"},
		{"command", secret, []string{"prefech"}, "prefetch"},
		{"no such command", secret, []string{"nonsense"}, `unknown command "nonsense"; "esper-weatherlight-service --help" lists the commands`},
		{"no such subcommand", secret, []string{"urza", "nonsense"}, `"esper-weatherlight-service urza --help" lists`},
		{"argument", secret, []string{"prefetch"}, "prefetch"},
		{"listen nowhere", secret, []string{"run", "--embedded", "--listen", "here"}, "--listen here: listen tcp: address here: missing port"},
		{"listen alone", secret, []string{"run", "--listen", ":1"}, "--embedded"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			code, stdout, stderr := runProgram(t, t.TempDir(), test.env, test.args...)
			if code != 2 || stdout != "" {
				t.Errorf("exit code %d, stdout %q; want 2 and nothing", code, stdout)
			}
			line := strings.TrimSpace(lastLine(stderr))
			if !strings.Contains(line, test.names) {
				t.Errorf("%q does not name %s", line, test.names)
			}
			if strings.Contains(stderr, "hunter2") || strings.Contains(stderr, testSecret) {
				t.Errorf("a secret is printed: %s", stderr)
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

func TestConfigMasksSecrets(t *testing.T) {
	dir := t.TempDir()
	env := map[string]string{
		"ESPER_LEYLINE_SECRET":          testSecret,
		"ESPER_LEYLINE_SECRET_ACCEPTED": "older-secret,oldest-secret",
		"REDIS_URL":                     "rediss://me:hunter2@bus.example:6380/1?password=hunter2",
	}
	dotenv := "KERNEL_FRESHNESS_WINDOW_MS=30000\nOONA_MESSAGE_TTL_MS=1000\n"
	if err := os.WriteFile(filepath.Join(dir, ".env"), []byte(dotenv), 0o600); err != nil {
		t.Fatal(err)
	}
	env["OONA_MESSAGE_TTL_MS"] = "2000" // wins over .env
	for _, args := range [][]string{{"config"}, {"config", "--json"}} {
		code, stdout, stderr := runProgram(t, dir, env, args...)
		if code != 0 {
			t.Errorf("%v: exit code %d: %s", args, code, stderr)
		}
		for _, hidden := range []string{testSecret, "older-secret", "hunter2"} {
			if strings.Contains(stdout+stderr, hidden) {
				t.Errorf("%v prints %s", args, hidden)
			}
		}
		for _, expected := range []string{"[secret]", "rediss://***@bus.example:6380/1", "30000", "2000"} {
			if !strings.Contains(stdout, expected) {
				t.Errorf("%v does not print %s:\n%s", args, expected, stdout)
			}
		}
		var doc []setting
		if len(args) == 2 {
			if err := json.Unmarshal([]byte(stdout), &doc); err != nil || len(doc) < 20 {
				t.Errorf("%d settings, %v", len(doc), err)
			}
		}
	}
}

// TestConfigShowsWhatHolds: the value in force of what is not set too, what is set
// and what is the default, and that something required is missing.
func TestConfigShowsWhatHolds(t *testing.T) {
	cluster := "REDIS_URL=redis+cluster://a:6379"
	for _, test := range []struct {
		name    string
		environ []string
		setting string
		want    string // value, and where it is from
	}{
		{"stream", nil, "OONA_KERNEL_REQUEST_STREAM", "oona.kernels.requests default"},
		{"stream on a cluster", []string{cluster}, "OONA_KERNEL_REQUEST_STREAM", "{oona}.kernels.requests default"},
		{"stream that is set", []string{cluster, "OONA_POLICY_STREAM={oona}.p"}, "OONA_POLICY_STREAM", "{oona}.p set"},
		{"set to the default", []string{"LEYLINE_MODE=compat"}, "LEYLINE_MODE", "compat set"},
		{"set to nothing", []string{"LEYLINE_MODE="}, "LEYLINE_MODE", "compat default"},
		{"no secret", nil, "ESPER_LEYLINE_SECRET", "(not set: required) missing"},
		{"secret", []string{"ESPER_LEYLINE_SECRET=" + testSecret}, "ESPER_LEYLINE_SECRET", "[secret] set"},
		{"secret in a file", []string{"ESPER_LEYLINE_SECRET_FILE=x"}, "ESPER_LEYLINE_SECRET", "(in the file of ESPER_LEYLINE_SECRET_FILE) file"},
		{"no accepted ones", nil, "ESPER_LEYLINE_SECRET_ACCEPTED", "(none) default"},
		{"no expiry", nil, "URZA_CACHE_TTL_SECONDS", "0 default"},
		{"no metrics", nil, "WEATHERLIGHT_METRICS_ADDR", "(nowhere) default"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			code, stdout, stderr := runCommand(t, test.environ, false, (*app).configCommand)
			if code != 0 || stderr != "" {
				t.Fatalf("exit code %d: %s", code, stderr)
			}
			for line := range strings.Lines(stdout) {
				if name, rest, _ := strings.Cut(line, " "); name == test.setting {
					if got := strings.Join(strings.Fields(rest), " "); !strings.HasPrefix(got, test.want+" ") {
						t.Errorf("%s: %s, want %s", name, got, test.want)
					}
					return
				}
			}
			t.Errorf("no line of %s:\n%s", test.setting, stdout)
		})
	}
}

// TestNoValueIsEmpty: every setting shows something, and says what a 0 means.
func TestNoValueIsEmpty(t *testing.T) {
	t.Chdir(t.TempDir())
	s, _, err := loadSettings(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range s.describe(nil) {
		if l.Value == "" && l.unset == "" {
			t.Errorf("%s shows nothing", l.Name)
		}
		if l.Value == "0" && !strings.Contains(l.Meaning, "0 means") {
			t.Errorf("%s is 0, which means what? %s", l.Name, l.Meaning)
		}
	}
}

// TestStreamNamesThatHold: the names that config prints are those that the client
// uses.
func TestStreamNamesThatHold(t *testing.T) {
	bus := newTestBus(t)
	s, _, err := loadSettings(nil)
	if err != nil {
		t.Fatal(err)
	}
	var printed []string
	for _, l := range s.describe(nil) {
		if strings.HasSuffix(l.Name, "_STREAM") {
			printed = append(printed, l.Value)
		}
	}
	used := bus.client.Streams().All()
	slices.Sort(printed)
	slices.Sort(used)
	if diff := cmp.Diff(used, printed); diff != "" {
		t.Errorf("streams (-used +printed):\n%s", diff)
	}
}

// TestRedisAway: an unreachable bus is retried until the boot timeout; then the
// error names the address, never the password.
func TestRedisAway(t *testing.T) {
	env := map[string]string{
		"ESPER_LEYLINE_SECRET":      testSecret,
		"REDIS_URL":                 "redis://:hunter2@127.0.0.1:1/0",
		"WEATHERLIGHT_BOOT_TIMEOUT": "500ms",
	}
	code, _, stderr := runProgram(t, t.TempDir(), env)
	if code != 1 || !strings.Contains(lastLine(stderr), "127.0.0.1:1") || strings.Contains(stderr, "hunter2") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}
