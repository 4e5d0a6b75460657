package main

import (
	"flag"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/esper-lite/esper/leyline"
	"github.com/esper-lite/esper/tamiyo"
	"github.com/esper-lite/esper/urza"
)

//go:generate go test -run ^TestSettingsReference$ -update-reference .

var updateReference = flag.Bool("update-reference", false, "write the settings into infra/operations.md")

const (
	manualFile = "../../infra/operations.md"
	tableBegin = "<!-- settings: begin (written by go generate ./cmd/esper-weatherlight-service) -->\n"
	tableEnd   = "<!-- settings: end -->\n"
)

// settingsTable renders the reference from the tags that loadSettings reads, in
// the order of the struct, so that what belongs together stands together.
func settingsTable() string {
	var b strings.Builder
	b.WriteString("| variable | default | meaning |\n|---|---|---|\n")
	for field := range reflect.TypeFor[settings]().Fields() {
		value := field.Tag.Get("envDefault")
		if unset := field.Tag.Get("unset"); value == "" && !strings.HasPrefix(unset, "(") {
			value = unset
		}
		if value != "" {
			value = "`" + value + "`"
		}
		meaning := strings.ReplaceAll(field.Tag.Get("meaning"), "|", `\|`)
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", field.Tag.Get("env"), value, meaning)
	}
	return b.String()
}

func readManual(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(manualFile)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestSettingsReference holds the manual to the settings that the program reads.
func TestSettingsReference(t *testing.T) {
	manual := readManual(t)
	before, rest, begins := strings.Cut(manual, tableBegin)
	table, after, ends := strings.Cut(rest, tableEnd)
	if !begins || !ends {
		t.Fatalf("%s has no place for the settings", manualFile)
	}
	want := settingsTable()
	if *updateReference {
		if err := os.WriteFile(manualFile, []byte(before+tableBegin+want+tableEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, table); diff != "" {
		t.Errorf("the settings in %s are not current; run go generate ./cmd/esper-weatherlight-service (-want +got):\n%s", manualFile, diff)
	}
}

// TestSettingsAreDescribed: what is not described is not in the manual either.
func TestSettingsAreDescribed(t *testing.T) {
	for field := range reflect.TypeFor[settings]().Fields() {
		if field.Tag.Get("env") == "" || field.Tag.Get("meaning") == "" {
			t.Errorf("field %s of settings lacks the tag env or meaning", field.Name)
		}
	}
}

// TestManualKnowsEveryReason: an operator who reads a reason in a log finds it.
func TestManualKnowsEveryReason(t *testing.T) {
	reasons := []string{
		urza.ReasonMissingArtifact, urza.ReasonArtifactNotFound, urza.ReasonChecksumMismatch,
		urza.ReasonCatalogUnavailable, urza.ReasonArtifactUnreadable, urza.ReasonMalformedRecord,
	}
	for _, reason := range leyline.Reasons() {
		reasons = append(reasons, string(reason))
	}
	for _, reason := range tamiyo.Reasons() {
		reasons = append(reasons, string(reason))
	}
	manual := readManual(t)
	for _, reason := range reasons {
		if !strings.Contains(manual, "| `"+reason+"` |") {
			t.Errorf("%s has no remedy for the reason %s", manualFile, reason)
		}
	}
}

// envName is how a variable of ours is written.
var envName = regexp.MustCompile(`\b(?:ESPER|LEYLINE|KERNEL|OONA|URZA|TAMIYO|WEATHERLIGHT|KASMINA|ESP|LOG)_[A-Z][A-Z_]*[A-Z]\b`)

// TestOperationsFilesNameRealSettings: a misspelt variable in a unit or compose
// file is silently ignored by everybody, so nothing may name one that is not read.
func TestOperationsFilesNameRealSettings(t *testing.T) {
	known := []string{
		"WEATHERLIGHT_IMAGE", "WEATHERLIGHT_KEYS", // of the compose file itself
	}
	for field := range reflect.TypeFor[settings]().Fields() {
		known = append(known, field.Tag.Get("env"))
	}
	for _, file := range []string{"docker-compose.weatherlight.yml", "Dockerfile", "weatherlight.env", "systemd/esper-weatherlight.service", "systemd/paths.env", "operations.md"} {
		text, err := os.ReadFile("../../infra/" + file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range envName.FindAllString(string(text), -1) {
			if !slices.Contains(known, name) {
				t.Errorf("infra/%s names %s, which nobody reads", file, name)
			}
		}
	}
}
