package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/esper-lite/esper/"

// allowed says which packages of ours each may import, tests left out.
var allowed = map[string][]string{
	"leyline":      {"leyline/leylinepb"},
	"oona":         {"leyline", "leyline/leylinepb"},
	"urza":         {"leyline", "leyline/leylinepb", "oona"},
	"kasmina":      {"leyline", "leyline/leylinepb", "oona"},
	"tamiyo":       {"leyline", "leyline/leylinepb", "oona"},
	"weatherlight": {"leyline", "leyline/leylinepb"},
}

func goList(t *testing.T, args ...string) []string {
	t.Helper()
	out, err := exec.Command("go", append([]string{"list"}, args...)...).Output()
	if err != nil {
		t.Fatalf("go list %v: %v", args, err)
	}
	return strings.Fields(string(out))
}

// TestImportRule holds the packages to the design: a subsystem never imports
// another one, and none imports weatherlight.
func TestImportRule(t *testing.T) {
	for pkg, may := range allowed {
		for _, dep := range goList(t, "-f", `{{join .Imports " "}}`, module+pkg) {
			own, ok := strings.CutPrefix(dep, module)
			if ok && !slices.Contains(may, own) && !strings.HasPrefix(own, pkg+"/") {
				t.Errorf("%s imports %s", pkg, own)
			}
		}
	}
}

// TestWeatherlightIsLight holds the supervisor to its promise: who embeds it
// gets no Redis, no SQL and no command line library.
func TestWeatherlightIsLight(t *testing.T) {
	heavy := []string{
		"github.com/redis/", "modernc.org/", "github.com/spf13/", "github.com/alicebob/",
		"github.com/prometheus/", "github.com/charmbracelet/", "github.com/lmittmann/", "github.com/caarlos0/",
	}
	deps := goList(t, "-deps", module+"weatherlight")
	for _, dep := range deps {
		// The uuid package names database/sql/driver for its Scan method; that is no
		// SQL, and not the package database/sql.
		if dep == "database/sql" || slices.ContainsFunc(heavy, func(h string) bool { return strings.HasPrefix(dep, h) }) {
			t.Errorf("weatherlight pulls in %s", dep)
		}
	}
	if !slices.Contains(deps, "github.com/sethvargo/go-retry") {
		t.Error("go list -deps does not show what weatherlight needs: the test sees nothing")
	}
}
