package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestUnknownVariables: what looks like a setting and is none is found, with the
// setting that was meant; what others read is left alone.
func TestUnknownVariables(t *testing.T) {
	for _, test := range []struct {
		name string
		vars []string
		want []string // name, and what it is near
	}{
		{"settings", []string{"REDIS_URL", "WEATHERLIGHT_METRICS_ADDR", "ESP_LOG_LEVEL", "ESPER_LEYLINE_SECRET_FILE"}, nil},
		{"a letter less", []string{"WEATHERLIGHT_METRIC_ADDR", "KASMINA_COMMAND"}, []string{"KASMINA_COMMAND KASMINA_COMMANDS", "WEATHERLIGHT_METRIC_ADDR WEATHERLIGHT_METRICS_ADDR"}},
		{"a letter more", []string{"ESPER_LEYLINE_SECRETS", "REDIS_URLL"}, []string{"ESPER_LEYLINE_SECRETS ESPER_LEYLINE_SECRET", "REDIS_URLL REDIS_URL"}},
		{"letters swapped", []string{"REDIS_ULR"}, []string{"REDIS_ULR REDIS_URL"}},
		{"lower case", []string{"oona_normal_stream"}, []string{"oona_normal_stream OONA_NORMAL_STREAM"}},
		{"goes on", []string{"TAMIYO_POLICY_DIRECTORY"}, []string{"TAMIYO_POLICY_DIRECTORY TAMIYO_POLICY_DIR"}},
		{"another family", []string{"WEATHERLIGHT_REDIS_URL", "ESP_LOG_FORMAT"}, []string{"ESP_LOG_FORMAT LOG_FORMAT", "WEATHERLIGHT_REDIS_URL REDIS_URL"}},
		{"near nothing", []string{"URZA_COLOUR", "WEATHERLIGHT_X"}, []string{"URZA_COLOUR ", "WEATHERLIGHT_X "}},
		{"near one that is set", []string{"REDIS_URI", "REDIS_URL"}, nil},
		{"of the compose file", []string{"WEATHERLIGHT_IMAGE", "WEATHERLIGHT_KEYS", "REDIS_IMAGE", "REDIS_BIND", "REDIS_PORT"}, nil},
		{"of systemd", []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "STATE_DIRECTORY", "LOGS_DIRECTORY"}, nil},
		{"of Kubernetes", []string{"WEATHERLIGHT_SERVICE_HOST", "WEATHERLIGHT_SERVICE_PORT_HTTP", "WEATHERLIGHT_PORT", "WEATHERLIGHT_PORT_9090_TCP_ADDR", "OONA_PORT_6379_TCP"}, nil},
		{"of the Python side", []string{
			"OONA_EMERGENCY_MAX_PER_MIN", "OONA_EMERGENCY_THRESHOLD", "LEYLINE_SCHEMA_DIR", "LEYLINE_DEFAULT_NAMESPACE", "TAMIYO_CONSERVATIVE_MODE",
			"TAMIYO_FIELD_REPORT_MAX_RETRIES", "TAMIYO_STEP_TIMEOUT_MS", "TAMIYO_DEVICE", "KASMINA_STRICT_ISOLATION", "ESPER_DEBUG_STAGE", "TEZZERET_INDUCTOR_CACHE_DIR",
		}, nil},
		{"of anybody", []string{"PATH", "HOME", "LANG", "FOO", "REDIS_PASSWORD", "REDIS_DB", "LOG_DIR", "LOG_LEVEL", "ESP_IDF_VERSION"}, nil},
	} {
		vars := make(map[string]string)
		for _, name := range test.vars {
			vars[name] = "x"
		}
		var got []string
		for _, v := range unknownVariables(vars) {
			got = append(got, v.name+" "+v.near)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

// TestNoSettingIsUnknown: every setting, and each with all others there.
func TestNoSettingIsUnknown(t *testing.T) {
	vars := make(map[string]string)
	for _, name := range settingNames() {
		vars[name] = "x"
	}
	if got := unknownVariables(vars); len(got) > 0 {
		t.Errorf("%v", got)
	}
}

func TestDistance(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "ab", 2}, {"ab", "", 2}, {"abc", "abc", 0}, {"abc", "acb", 2}, {"kitten", "sitting", 3}, {"abc", "xabcx", 2}} {
		if got := distance(test.a, test.b); got != test.want {
			t.Errorf("%q, %q: %d, want %d", test.a, test.b, got, test.want)
		}
	}
}

// TestMisspeltSettingsAreTold: on stderr, by the service and by every command that
// reads settings; by a name, never by a value, and not without end.
func TestMisspeltSettingsAreTold(t *testing.T) {
	bus := listenTestBus(t)
	env := map[string]string{
		"REDIS_URL": bus.url, "ESPER_LEYLINE_SECRET": testSecret, "ESPER_LEYLINE_SECRETS_FILE": "hunter2",
		"WEATHERLIGHT_METRIC_ADDR": "", // empty counts as unset
	}
	for i := range 2 * mostUnknown {
		env[fmt.Sprint("URZA_X", i)] = "hunter2"
	}
	for _, args := range [][]string{{"config"}, {"urza", "list"}, {"policy", "show"}, {"status"}, {"deadletter", "list"}} {
		code, stdout, stderr := runProgram(t, t.TempDir(), env, args...)
		if code != 0 || strings.Contains(stdout, "SECRETS_FILE") {
			t.Errorf("%v: exit code %d: %s", args, code, stdout)
		}
		checkTold(t, fmt.Sprint(args), stderr)
	}
	service := start(t, t.TempDir(), env)
	eventually(t, func() error { return errIf(!strings.Contains(service.stderr.String(), "booted"), "it does not boot") })
	service.terminate(10 * time.Second)
	checkTold(t, "run", service.stderr.String())
}

func checkTold(t *testing.T, command, stderr string) {
	t.Helper()
	if !strings.Contains(stderr, `"variable":"ESPER_LEYLINE_SECRETS_FILE","did_you_mean":"ESPER_LEYLINE_SECRET_FILE"`) {
		t.Errorf("%s does not tell of ESPER_LEYLINE_SECRETS_FILE: %s", command, stderr)
	}
	if strings.Contains(stderr, "METRIC_ADDR") || strings.Contains(stderr, "hunter2") {
		t.Errorf("%s tells too much: %s", command, stderr)
	}
	if n := strings.Count(stderr, "not a setting"); n != mostUnknown || !strings.Contains(stderr, fmt.Sprintf(`"variables":%d`, mostUnknown+1)) {
		t.Errorf("%s: %d lines: %s", command, n, stderr)
	}
}
