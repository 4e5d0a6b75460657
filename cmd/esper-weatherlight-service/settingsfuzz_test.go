package main

import (
	"os"
	"strings"
	"testing"

	"github.com/esper-lite/esper/leyline"
)

// FuzzSettings: no environment and no .env file makes reading them panic; what is
// wrong is said in one line, and no secret is in it, nor in what config shows.
func FuzzSettings(f *testing.F) {
	f.Add("ESPER_LEYLINE_SECRET", "hunter2hunter2", "")
	f.Add("ESPER_LEYLINE_SECRET_ACCEPTED", "a,b\n,c, ", "LEYLINE_MODE=strict")
	f.Add("REDIS_URL", "rediss://me:pw@bus:6380/1?password=x", "REDIS_URL='redis://")
	f.Add("REDIS_URL", "redis+sentinel://u:p@a:1,b/master/0", "")
	f.Add("KERNEL_FRESHNESS_WINDOW_MS", "9223372036854775808", "OONA_MESSAGE_TTL_MS=-1")
	f.Add("WEATHERLIGHT_BOOT_TIMEOUT", "1h1h", "ESP_LOG_LEVEL=chatty\nLOG_FORMAT=xml")
	f.Add("TAMIYO_VERIFY_UPDATES", "perhaps", "export A=\"$B\" # c")
	f.Add("0", "0", "=0000+000000A0000")
	f.Add("", "C:", "")
	const secret = "a secret that must not be seen"
	f.Fuzz(func(t *testing.T, name, value, dotenv string) {
		if strings.ContainsAny(name, "=\x00") || strings.Contains(value, "\x00") {
			t.Skip("no environment has that")
		}
		t.Chdir(t.TempDir())
		if dotenv != "" {
			if err := os.WriteFile(".env", []byte(dotenv), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		environ := []string{"ESPER_LEYLINE_SECRET=" + secret, "ESPER_LEYLINE_SECRET_ACCEPTED=" + secret}
		if name != "ESPER_LEYLINE_SECRET" && name != "ESPER_LEYLINE_SECRET_ACCEPTED" {
			environ = append(environ, name+"="+value)
		}
		s, _, err := loadSettings(environ)
		if err != nil {
			if text := err.Error(); strings.ContainsAny(text, "\n\r") || strings.Contains(text, secret) {
				t.Errorf("%q", text)
			}
			return
		}
		for _, line := range s.describe(nil) {
			if strings.Contains(line.Value, secret) {
				t.Errorf("%+v", line)
			}
		}
		secrets, err := leyline.ParseSecrets(value)
		var list secretList
		if again := list.UnmarshalText([]byte(value)); (err == nil) != (again == nil) || len(list) != len(secrets) {
			t.Errorf("%d secrets, %v; as a setting %d, %v", len(secrets), err, len(list), again)
		}
	})
}

// FuzzMaskURL: whatever the address, user and password do not show.
func FuzzMaskURL(f *testing.F) {
	f.Add("redis", "host:6379/0", "")
	f.Add("redis+sentinel", "a:1,b:2/master/0", "password=x")
	f.Fuzz(func(t *testing.T, scheme, rest, query string) {
		const secret = "hunter2"
		if strings.Contains(scheme+rest+query, secret) || strings.Contains(scheme, "://") || strings.Contains(scheme, secret) {
			t.Skip("in the open")
		}
		masked := maskURL(scheme + "://me:" + secret + "@" + rest + "?" + query + "&password=" + secret)
		if strings.Contains(masked, secret) {
			t.Errorf("shown as %s", masked)
		}
	})
}
