package main

import (
	"os"
	"regexp"
	"strings"

	"github.com/google/uuid"
)

// identity tells this process from every other one, also from the one that ran
// here before it.
type identity struct {
	Host string
	Boot string
}

func newIdentity() identity {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "unknown"
	}
	boot := strings.ReplaceAll(uuid.NewString(), "-", "")[:12]
	return identity{Host: unprintable.ReplaceAllString(host, "_"), Boot: boot}
}

var unprintable = regexp.MustCompile(`[^A-Za-z0-9._-]`)

// instance names the process in telemetry: <host>-<boot id>.
func (i identity) instance() string { return i.Host + "-" + i.Boot }

// consumer names it in consumer groups, as the Python side names its own, plus
// the boot id.
func (i identity) consumer() string { return "weatherlight-" + i.instance() }

// source names it in what it signs.
func (i identity) source(service string) string { return service + "/" + i.instance() }
