package main

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

// checkup is the answer of healthcheck.
type checkup struct {
	Healthy   bool     `json:"healthy"`
	Reason    string   `json:"reason"`
	Instance  string   `json:"instance,omitempty"`
	Status    string   `json:"status,omitempty"`
	Summary   string   `json:"summary,omitempty"`
	SeenAgoS  *float64 `json:"seen_seconds_ago"`
	IntervalS float64  `json:"interval_seconds"`
	// Warning is something that an operator must look at though the process is
	// ready; see [secretCheck] for why it is no reason to be unready.
	Warning string `json:"warning,omitempty"`
}

func (a *app) healthcheckCommand() *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "healthcheck",
		Short: "Say whether Weatherlight on this host is healthy; exits 3 if not",
		Long: `Looks on the bus for the newest telemetry packet of this host. It is healthy when
that packet is not older than three times WEATHERLIGHT_TELEMETRY_INTERVAL and its
health is not CRITICAL. A process that stopped in order does not count. Exits 3
when the host is not healthy, 1 when the bus could not be asked. A warning, as
that nothing from others verifies with its secret, changes no exit code: whoever
can write to Redis can bring that about.`,
		Args: argsError(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if timeout <= 0 {
				return usageErrorf("--timeout must be more than 0s")
			}
			return a.healthcheck(cmd.Context(), timeout)
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Second, "how long to wait for Redis")
	return cmd
}

func (a *app) healthcheck(ctx context.Context, timeout time.Duration) error {
	s, client, err := a.observe(ctx, timeout)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("redis at %s did not answer within %v", client.Address(), timeout))
	defer cancel()
	o := newObserver(client)
	// One interval more than is healthy, so that a late packet can be told from
	// none at all.
	if _, err := o.catchUp(ctx, (overdue+1)*s.TelemetryInterval); err != nil {
		return busTrouble(s, cmp.Or(context.Cause(ctx), err))
	}
	c := o.fleet.checkup(newIdentity().Host, client.Now(), s.TelemetryInterval)
	if n := o.countUnverified(client.Now(), time.Hour); n > 0 && c.Instance == "" {
		c.Warning = fmt.Sprintf("%s on the bus without a signature that this command accepts: does it have the service's settings?", messages(float64(n)))
	}
	if a.json {
		err = printJSON(a.Out, c)
	} else {
		_, err = fmt.Fprintln(a.Out, c)
	}
	if err == nil && !c.Healthy {
		err = answeredError()
	}
	return err
}

// checkup judges a host by the newest packet of its processes.
func (f *fleet) checkup(host string, now time.Time, interval time.Duration) checkup {
	c := checkup{Reason: "no telemetry of host " + host, IntervalS: interval.Seconds()}
	var newest *instance
	for _, i := range f.sorted() {
		switch {
		case hostOf(i.latest.Instance) != host:
		case i.latest.Summary == summaryShutdown:
			if newest == nil {
				c.Reason = "the process on host " + host + " has shut down"
			}
		case newest == nil || i.latest.Arrived.After(newest.latest.Arrived):
			newest = i
		}
	}
	if newest == nil {
		return c
	}
	age := max(0, now.Sub(newest.latest.Arrived))
	c.Instance, c.Summary = printable(newest.latest.Instance), printable(newest.latest.Summary)
	c.Status, c.SeenAgoS = healthName(newest.latest.Health), new(age.Seconds())
	switch {
	case age > overdue*interval:
		c.Reason = "its newest packet is too old: it was killed, hangs, or cannot reach Redis"
	case c.Status == "critical":
		c.Reason = "its health is critical"
	default:
		c.Healthy, c.Reason = true, "its newest packet is fresh"
	}
	if newest.latest.figure(figureSecretMismatch) > 0 {
		c.Warning = secretMismatchText + "\n→ " + secretMismatchRemedy
	}
	return c
}

// String is the answer in one line, and the warning in further ones.
func (c checkup) String() string {
	word := "not healthy"
	if c.Healthy {
		word = "healthy"
	}
	text := word + ": " + c.Reason
	if c.Instance != "" {
		text += fmt.Sprintf(" (%s said %s, %s; last seen %s ago)", c.Instance, c.Status, c.Summary, shortSeconds(deref(c.SeenAgoS)))
	}
	if c.Warning != "" {
		text += "\nwarning: " + c.Warning
	}
	return text
}
