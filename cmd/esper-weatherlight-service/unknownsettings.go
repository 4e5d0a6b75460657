package main

import (
	"log/slog"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// A variable that nobody reads is most often a misspelt setting, and the default
// holds without a word. The environment is shared, though, with the Python side,
// which has many settings of its own, and with whatever else runs on the host: of
// a family that is all ours every unknown name is told, of one that is shared only
// a name that is close to a setting.
var (
	ownFamilies    = []string{"ESPER_LEYLINE_", "WEATHERLIGHT_", "OONA_", "URZA_"}
	sharedFamilies = []string{"ESPER_", "LEYLINE_", "KERNEL_", "KASMINA_", "TAMIYO_", "ESP_", "REDIS_", "LOG_"}

	// othersVariables are in our families and somebody else's.
	othersVariables = []string{
		"WEATHERLIGHT_IMAGE", "WEATHERLIGHT_KEYS", // the compose file's
		"OONA_EMERGENCY_MAX_PER_MIN", "OONA_EMERGENCY_THRESHOLD", // the Python side's
	}
	// othersNames are those that Kubernetes makes of a service, as
	// WEATHERLIGHT_SERVICE_HOST and WEATHERLIGHT_PORT_9090_TCP_ADDR, and those of
	// our tests.
	othersNames = regexp.MustCompile(`_SERVICE_HOST$|_SERVICE_PORT(_|$)|_PORT$|_PORT_\d+_(TCP|UDP|SCTP)(_|$)|^WEATHERLIGHT_TEST_`)
)

// unknownVariable is a variable that looks like a setting and is none.
type unknownVariable struct {
	name string
	near string // the setting that it is close to, if there is one
}

// unknownVariables returns the variables that look like settings and are none, in
// order of their names. Names matter, values do not: none is looked at.
func unknownVariables(vars map[string]string) (unknown []unknownVariable) {
	known := settingNames()
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		if slices.Contains(known, name) || slices.Contains(othersVariables, name) || othersNames.MatchString(name) {
			continue
		}
		v := unknownVariable{name, nearest(name, known)}
		upper := strings.ToUpper(name)
		switch {
		case startsWithOne(upper, ownFamilies):
			unknown = append(unknown, v)
		case startsWithOne(upper, sharedFamilies) && v.near != "" && vars[v.near] == "":
			unknown = append(unknown, v)
		}
	}
	return unknown
}

func startsWithOne(name string, families []string) bool {
	return slices.ContainsFunc(families, func(f string) bool { return strings.HasPrefix(name, f) })
}

func settingNames() (names []string) {
	for field := range reflect.TypeFor[settings]().Fields() {
		names = append(names, field.Tag.Get("env"))
	}
	return names
}

// nearest returns the setting whose name is at most two letters away from name, in
// any case, or that name goes on from or ends in; "" if there is none.
func nearest(name string, known []string) string {
	upper, best, least := strings.ToUpper(name), "", 3
	for _, k := range known {
		if d := distance(upper, k); d < least {
			best, least = k, d
		}
	}
	for _, k := range known {
		if best == "" && (strings.HasPrefix(upper, k) || strings.HasSuffix(upper, "_"+k)) {
			best = k
		}
	}
	return best
}

// distance is the number of letters to insert, delete or replace to make b of a
// (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}

// mostUnknown is how many unknown variables are told one by one.
const mostUnknown = 20

// warnOfUnknown tells of variables that look like settings and are none.
func warnOfUnknown(vars map[string]string, log *slog.Logger) {
	unknown := unknownVariables(vars)
	for _, v := range unknown[:min(len(unknown), mostUnknown)] {
		if v.near == "" {
			log.Warn("not a setting: nothing reads it; \"config\" lists those there are", "variable", v.name)
			continue
		}
		log.Warn("not a setting: nothing reads it", "variable", v.name, "did_you_mean", v.near)
	}
	if more := len(unknown) - mostUnknown; more > 0 {
		log.Warn("more variables are not settings", "variables", more)
	}
}
