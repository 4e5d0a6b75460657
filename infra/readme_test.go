package infra_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

//go:generate go test -run ^TestReadmePackages$ -update-readme .

var updateReadme = flag.Bool("update-readme", false, "write what the packages pull in into README.md")

const (
	readmeFile = "../README.md"
	module     = "github.com/esper-lite/esper"
)

// libraryPackages are the packages that the README tells the size of.
var libraryPackages = []string{"leyline", "oona", "urza", "kasmina", "tamiyo", "weatherlight"}

// section returns what stands between the markers of a name in the README, and
// what stands around it, markers included.
func section(t *testing.T, name string) (before, within, after string) {
	t.Helper()
	text, err := os.ReadFile(readmeFile)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := "<!-- "+name+": begin -->\n", "<!-- "+name+": end -->\n"
	before, rest, begins := strings.Cut(string(text), begin)
	within, after, ends := strings.Cut(rest, end)
	if !begins || !ends {
		t.Fatalf("the README has no section %s", name)
	}
	return before + begin, within, end + after
}

// firstCell is the code in the first cell of a row of a table.
var firstCell = regexp.MustCompile("(?m)^\\| `([^`]+)` \\|")

// TestReadmeDependencies: every direct dependency has its reason in the README,
// and none that is gone has.
func TestReadmeDependencies(t *testing.T) {
	var required []string
	list := command(t, nil, "go", "list", "-m", "-f", "{{if not (or .Main .Indirect)}}{{.Path}}{{end}}", "all")
	for path := range strings.FieldsSeq(list) {
		required = append(required, path)
	}
	var described []string
	_, table, _ := section(t, "dependencies")
	for _, cell := range firstCell.FindAllStringSubmatch(table, -1) {
		described = append(described, cell[1])
	}
	slices.Sort(required)
	slices.Sort(described)
	if diff := cmp.Diff(required, described); diff != "" {
		t.Errorf("direct dependencies (-go.mod +README):\n%s", diff)
	}
}

// TestReadmePackages: what an embedder of each package gets stands in the README.
func TestReadmePackages(t *testing.T) {
	// On another Go the standard library counts differently; that is no mistake.
	goVersion := strings.Join(strings.SplitN(runtime.Version(), ".", 3)[:2], ".")
	want := packagesTable(t, goVersion)
	before, got, after := section(t, "packages")
	if *updateReadme {
		if err := os.WriteFile(readmeFile, []byte(before+want+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !strings.Contains(got, goVersion+" ") {
		t.Skipf("the README was written with another Go than %s", goVersion)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the sizes of the packages are not current; run go generate ./infra (-want +README):\n%s", diff)
	}
}

// packagesTable renders what go list -deps says, for linux/amd64 without cgo,
// wherever it runs.
func packagesTable(t *testing.T, goVersion string) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "| package | packages (`CGO_ENABLED=0 go list -deps`, %s linux/amd64) | standard library | ours | of other modules | modules |\n|---|---|---|---|---|---|\n", goVersion)
	for _, pkg := range libraryPackages {
		all, standard, ours := 0, 0, 0
		modules := make(map[string]bool)
		list := command(t, []string{"GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0"},
			"go", "list", "-deps", "-f", "{{if .Standard}}std{{else}}{{.Module.Path}}{{end}}", module+"/"+pkg)
		for path := range strings.FieldsSeq(list) {
			all++
			switch path {
			case "std":
				standard++
			case module:
				ours++
			default:
				modules[shortName(path)] = true
			}
		}
		names := slices.Sorted(maps.Keys(modules))
		fmt.Fprintf(&b, "| `%s` | %d | %d | %d | %d | %s |\n", pkg, all, standard, ours, all-standard-ours, strings.Join(names, ", "))
	}
	return b.String()
}

// shortName leaves the host and the major version out of a module's path.
func shortName(path string) string {
	path = regexp.MustCompile(`/v\d+$`).ReplaceAllString(path, "")
	return strings.TrimPrefix(path, "github.com/")
}
