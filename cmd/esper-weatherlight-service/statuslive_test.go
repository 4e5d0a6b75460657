package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"
)

var updateScreens = flag.Bool("update-screens", false, "write testdata/screens")

// screenOf is a live view of a story in a terminal of that size.
func screenOf(story string, width, height int) *screen {
	s := newScreen(new(palette))
	s.Update(tea.WindowSizeMsg{Width: width, Height: height})
	v := stories[story]().view()
	v.At = storyStart // one clock in every time zone is not to be had
	s.Update(v)
	return s
}

// TestScreens: what an operator sees in a terminal of the usual size.
func TestScreens(t *testing.T) {
	t.Setenv("TZ", "UTC")
	for story := range stories {
		file := filepath.Join("testdata", "screens", strings.ReplaceAll(story, " ", "-")+".txt")
		_, drawn, _ := strings.Cut(screenOf(story, 80, 24).draw(), "\n") // without the clock
		if *updateScreens {
			if err := os.WriteFile(file, []byte(drawn+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if diff := cmp.Diff(readText(t, file), drawn+"\n"); diff != "" {
			t.Errorf("%s; run go test -run TestScreens -update-screens if it is meant (-want +got):\n%s", story, diff)
		}
	}
}

// TestScreenFits: whatever happens and however small the terminal, what is drawn
// has its size, and the first problem and the keys are there.
func TestScreenFits(t *testing.T) {
	for story := range stories {
		for _, size := range []struct{ width, height int }{{80, 24}, {40, 10}, {200, 60}, {1, 1}, {20, 3}, {80, 5}} {
			s := screenOf(story, size.width, size.height)
			for _, key := range []string{"", "enter", "?", "esc", "s", "pgdown", "pgdown", "pgup"} {
				s.press(key)
				lines := strings.Split(s.draw(), "\n")
				if len(lines) != size.height {
					t.Errorf("%s, %v after %q: %d lines", story, size, key, len(lines))
				}
				for _, line := range lines {
					if w := ansi.StringWidth(line); w > size.width {
						t.Errorf("%s, %v after %q: a line of %d columns: %s", story, size, key, w, line)
					}
				}
			}
		}
		screen := screenOf(story, 80, 24)
		text := strings.Join(strings.Fields(screen.draw()), " ")
		for _, p := range screen.view.Problems {
			if !strings.Contains(text, strings.Join(strings.Fields(p.Subject), " ")) {
				t.Errorf("%s: the screen does not tell of %s", story, p.Subject)
			}
		}
		if !strings.Contains(text, "q quit") {
			t.Errorf("%s: no keys on the screen", story)
		}
	}
}

func TestScreenKeys(t *testing.T) {
	s := screenOf("crash loop", 80, 24)
	press := func(keys ...string) string {
		for _, key := range keys {
			if !s.press(key) {
				t.Fatalf("%q ends it", key)
			}
		}
		return s.draw()
	}
	if s.selected != "alpha-0123456789ab" {
		t.Fatalf("%q is selected", s.selected)
	}
	if text := press("down", "down"); s.selected != "beta-ba9876543210" {
		t.Errorf("after ↓ %q is selected:\n%s", s.selected, text)
	}
	if text := press("enter"); !strings.Contains(text, "beta-ba9876543210  healthy  steady") || strings.Contains(text, "no space left") {
		t.Errorf("details of beta:\n%s", text)
	}
	if text := press("up"); !strings.Contains(text, "var/tamiyo/policies/current: no space left on device") || !strings.Contains(text, "policy       v7") {
		t.Errorf("details of alpha:\n%s", text)
	}
	if text := press("esc", "s"); !strings.Contains(text, "sort: health") {
		t.Errorf("after s:\n%s", text)
	}
	if text := press("?"); !strings.Contains(text, "select a process") {
		t.Errorf("help:\n%s", text)
	}
	press("esc")
	for _, key := range []string{"q", "ctrl+c", "esc"} {
		if s.press(key) {
			t.Errorf("%q does not end it", key)
		}
	}
}

func TestScreenSort(t *testing.T) {
	s := newScreen(new(palette))
	row := func(name, health string, rate, p95, up float64) instanceView {
		return instanceView{Instance: name, Health: health, RatePerS: rate, P95MS: &p95, UptimeS: &up}
	}
	s.take(&fleetView{Instances: []instanceView{
		row("a", "healthy", 5, 1, 30), row("b", healthSilent, 0, 9, 20), row("c", "critical", 9, 2, 10), row("d", healthStopped, 7, 3, 5), row("e", healthLate, 1, 1, 1),
	}})
	s.selected = "c"
	for _, test := range []struct{ order, names string }{
		{"name", "abced"}, {"health", "cbead"}, {"rate", "cdaeb"}, {"latency", "bdcae"}, {"uptime", "edcba"}, {"name", "abced"},
	} {
		var names strings.Builder
		for _, i := range s.view.Instances {
			names.WriteString(i.Instance)
		}
		if names.String() != test.names || s.sort.String() != test.order || s.selected != "c" {
			t.Errorf("by %s: %s, want %s by %s; %s is selected", s.sort, names.String(), test.names, test.order, s.selected)
		}
		s.press("s")
	}
	s.take(&fleetView{}) // all are gone
	if s.press("enter"); s.detail || s.selected != "" {
		t.Errorf("details of %q, which is gone", s.selected)
	}
}

func TestSparkline(t *testing.T) {
	for _, test := range []struct {
		values []float64
		width  int
		want   string
	}{
		{nil, 10, ""}, {[]float64{1, 2}, 0, ""}, {[]float64{0, 0}, 10, "▁▁"}, {[]float64{0, 1, 7}, 10, "▁▂█"},
		{[]float64{100, 1, 2, 3, 4}, 3, "▅▆█"}, {[]float64{-5, 8}, 2, "▁█"},
	} {
		if got := sparkline(test.values, test.width); got != test.want {
			t.Errorf("%v in %d: %q, want %q", test.values, test.width, got, test.want)
		}
	}
}

// TestSeries: rates of all processes add up, whenever within an interval each of
// them reports, and what one of them did not tell yet is no dip.
func TestSeries(t *testing.T) {
	s := newStory("alpha-1", "beta-2")
	s.ticks(5, 1000)
	s.procs[1].mute = true // its next packet is still on its way
	s.ticks(1, 1000)
	got := s.fleet.series(s.now, 10*1e9)
	want := []float64{200, 200, 200, 200}
	if diff := cmp.Diff(want, got.rates); diff != "" {
		t.Errorf("rates (-want +got):\n%s", diff)
	}
	if slices.ContainsFunc(got.latency, func(ms float64) bool { return ms != 3.5 }) || len(got.latency) != len(want) {
		t.Errorf("latencies are %v, want 3.5 ms each, the p95 of the histogram", got.latency)
	}
	var nobody fleet
	if got := nobody.series(s.now, 10*1e9); len(got.rates) != 0 {
		t.Errorf("without processes: %v", got)
	}
}

// TestChangeLog: a problem is a line when it comes and when it is over, whatever
// its figures do meanwhile.
func TestChangeLog(t *testing.T) {
	t.Setenv("TZ", "UTC")
	var out strings.Builder
	log := newChangeLog(&out, new(palette))
	s := stories["steady"]()
	show := func() {
		v := s.view()
		if err := log.show(&v); err != nil {
			t.Fatal(err)
		}
	}
	show()
	forged := countKey{"oona.kernels.requests", "UNSPECIFIED", "bad_signature"}
	for range 3 {
		s.procs[0].counts[forged] += 1000
		s.tick(3124)
		show()
	}
	s.ticks(7, 3124)
	show()
	var got []string
	for line := range strings.Lines(out.String()) {
		_, line, _ := strings.Cut(line, " ") // without the time
		line, _, _ = strings.Cut(line, " in the last minute")
		line, _, _ = strings.Cut(line, ", prefetch")
		got = append(got, strings.TrimSpace(line))
	}
	want := []string{
		"HEALTHY: 2 of 2 processes, 4 of 4 workers",
		"▲ refused messages: 1,000 messages refused as bad_signature on oona.kernels.requests",
		"DEGRADED: 2 of 2 processes, 4 of 4 workers",
		"✓ over: refused messages: 3,000 messages refused as bad_signature on oona.kernels.requests",
		"HEALTHY: 2 of 2 processes, 4 of 4 workers",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	v := s.view()
	if err := newChangeLog(brokenPipe{}, new(palette)).show(&v); err == nil {
		t.Error("no error of a writer that fails")
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, fmt.Errorf("broken pipe") }
