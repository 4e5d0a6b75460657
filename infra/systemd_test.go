package infra_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestWeatherlightctl: a command gets the settings of the unit, as its user, with
// its arguments as they were; the file of the operator wins over ours.
func TestWeatherlightctl(t *testing.T) {
	script, err := os.ReadFile("systemd/weatherlightctl")
	if err != nil {
		t.Fatal(err)
	}
	paths, err := os.ReadFile("systemd/paths.env")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	service := filepath.Join(dir, "service")
	ctl := filepath.Join(dir, "ctl")
	for name, program := range map[string]string{
		ctl: strings.NewReplacer("/etc/weatherlight", dir, "/usr/local/bin/esper-weatherlight-service", service).Replace(string(script)),
		// As the real one: -u USER -- PROGRAM ARGUMENTS.
		filepath.Join(dir, "runuser"): "#!/bin/sh\n[ \"$1 $2 $3\" = '-u weatherlight --' ] || exit 9\nshift 3\nexec \"$@\"\n",
		service:                       "#!/bin/sh\nprintf '<%s>' \"$@\"\necho\nenv\n",
	} {
		if err := os.WriteFile(name, []byte(program), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(dir, "paths.env"), paths)
	write(t, filepath.Join(dir, "weatherlight.env"), []byte("# a comment\n\nREDIS_URL=redis://u:a b$c&d@h:1/0\nTAMIYO_POLICY_DIR=/elsewhere"))
	out := command(t, []string{"PATH=" + dir + string(filepath.ListSeparator) + os.Getenv("PATH")}, ctl, "urza", "add", "a file", "--blueprint", "$B")
	for _, want := range []string{
		"<urza><add><a file><--blueprint><$B>",
		"ESPER_LEYLINE_SECRET_FILE=/etc/weatherlight/secret",
		"URZA_DATABASE_URL=sqlite:////var/lib/weatherlight/urza/catalog.db",
		"REDIS_URL=redis://u:a b$c&d@h:1/0",
		"TAMIYO_POLICY_DIR=/elsewhere",
	} {
		if !strings.Contains(out, want+"\n") {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}
