package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/esper-lite/esper/oona"
)

func (a *app) deadletterReplayCommand() *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use:   "replay ID...",
		Short: "Sign messages anew and put them back on their stream",
		Long: `Signs messages anew, with a new time, and puts them back on the stream that they
came from. Mend what their reason says first. One of reason unexpected_type did
not belong on that stream: it goes to the stream of its type. If that is the one
that refused it, it stays a dead letter, unless --to says where it is to go.

What is replayed is sealed for the stream that it goes to, so mode strict takes it
too. A reader that does not want its type gives it up again.`,
		Args: argsError(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			ids, err := parseIDs(args)
			if err != nil {
				return err
			}
			return a.withLetters(cmd.Context(), func(client *oona.Client) error {
				if err := knownStream(client, to); err != nil {
					return err
				}
				return a.replayLetters(cmd.Context(), client.DeadLetters(), ids, to)
			})
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "stream to put them on, instead of the one they came from or that of their type")
	return cmd
}

// knownStream refuses a name that nobody reads: what is sent there is lost.
func knownStream(client *oona.Client, name string) error {
	streams := client.Streams()
	known := slices.DeleteFunc(streams.All(), func(s string) bool { return s == streams.DeadLetter })
	if name == "" || slices.Contains(known, name) {
		return nil
	}
	return usageErrorf("--to %q is no stream of this fleet: %s", name, strings.Join(known, ", "))
}

// replayLetters replays letters, to the given stream if that is not empty.
func (a *app) replayLetters(ctx context.Context, d *oona.DeadLetters, ids []oona.EntryID, to string) error {
	replayed := make([]map[string]string, 0, len(ids))
	for _, id := range ids {
		receipt, err := replayLetter(ctx, d, id, to)
		if err != nil {
			return fmt.Errorf("replay %v: %w", id, err)
		}
		replayed = append(replayed, map[string]string{"id": id.String(), "stream": receipt.Stream, "entry_id": receipt.ID.String()})
		if !a.json {
			fmt.Fprintf(a.Out, "replayed %v as %v on %s\n", id, receipt.ID, receipt.Stream)
		}
	}
	if a.json {
		return printJSON(a.Out, replayed)
	}
	return nil
}

func replayLetter(ctx context.Context, d *oona.DeadLetters, id oona.EntryID, to string) (oona.Receipt, error) {
	if to != "" {
		return d.ReplayTo(ctx, id, to)
	}
	return d.Replay(ctx, id)
}
