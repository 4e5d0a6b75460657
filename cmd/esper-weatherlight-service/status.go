package main

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) statusCommand() *cobra.Command {
	var look statusFlags
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show every Weatherlight process, its workers and queues, and what is wrong",
		Long: `Reads the telemetry on the bus and shows the fleet: first what is wrong, and what
to do about it, then every process, its workers, the queues, what was refused,
dead letters, seeds, policies and emergencies. Rates, percentiles and "last
minute" are of the last minute.

It needs only the bus, and takes nothing from it. With --watch it stays and is
kept up to date, also while Redis is away; where the output is no terminal it
writes a line whenever something changes, and with --json a document a line,
every second.`,
		Args: argsError(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case look.since < time.Second:
				return usageErrorf("--since must be 1s or more")
			case look.timeout <= 0:
				return usageErrorf("--timeout must be more than 0s")
			}
			if look.watch {
				return a.watch(cmd.Context(), look)
			}
			return a.status(cmd.Context(), look)
		},
	}
	cmd.Flags().BoolVarP(&look.watch, "watch", "w", false, "stay, and keep it up to date")
	cmd.Flags().DurationVar(&look.since, "since", 5*time.Minute, "how far back to look for processes")
	cmd.Flags().DurationVar(&look.timeout, "timeout", 5*time.Second, "how long to wait for Redis")
	return cmd
}

// statusFlags are the flags of status.
type statusFlags struct {
	watch   bool
	since   time.Duration
	timeout time.Duration
}

// status shows the fleet once.
func (a *app) status(ctx context.Context, look statusFlags) error {
	s, client, err := a.observe(ctx, look.timeout)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	ctx, cancel := context.WithTimeoutCause(ctx, look.timeout, fmt.Errorf("redis at %s did not answer within %v", client.Address(), look.timeout))
	defer cancel()
	o := newObserver(client)
	if _, err := o.catchUp(ctx, look.since); err != nil {
		return busTrouble(s, cmp.Or(context.Cause(ctx), err))
	}
	queues, err := readQueues(ctx, client)
	if ctx.Err() != nil {
		return busTrouble(s, cmp.Or(context.Cause(ctx), err))
	}
	view := o.view(s.TelemetryInterval, look.since, busView{Address: client.Address(), Reachable: true}, queues)
	if a.json {
		return printJSON(a.Out, view)
	}
	return writeStatus(a.Out, newPalette(a.Out, a.environ), &view)
}
