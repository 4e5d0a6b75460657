package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/esper-lite/esper/oona"
)

// deadLetter is what list and show print.
type deadLetter struct {
	ID          string          `json:"id"`
	Reason      string          `json:"reason"`
	Type        string          `json:"message_type"`
	Error       string          `json:"error"`
	Stream      string          `json:"stream"`
	EntryID     string          `json:"entry_id"`
	Attempts    int             `json:"attempts"`
	Deliveries  int             `json:"deliveries"`
	FirstFailed time.Time       `json:"first_failed_at"`
	LastFailed  time.Time       `json:"last_failed_at"`
	Consumer    string          `json:"consumer"`
	Bytes       int             `json:"bytes"`
	Message     json.RawMessage `json:"message,omitempty"`
}

func describeLetter(l *oona.Letter) deadLetter {
	return deadLetter{
		ID: l.ID.String(), Reason: string(l.Reason), Type: l.Type().String(), Error: l.Error,
		Stream: l.Stream, EntryID: l.EntryID.String(), Attempts: l.Attempts, Deliveries: l.Deliveries,
		FirstFailed: l.FirstFailed, LastFailed: l.LastFailed, Consumer: l.Consumer, Bytes: len(l.Payload),
	}
}

func (a *app) deadletterCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "deadletter",
		Short: "List, show, replay and drop the messages that were given up",
		Args:  onlyCommands,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.deadletterListCommand(), a.deadletterShowCommand(), a.deadletterReplayCommand(), a.deadletterDropCommand())
	return cmd
}

// withLetters runs a command over the dead letters of the bus.
func (a *app) withLetters(ctx context.Context, use func(*oona.Client) error) error {
	client, err := a.client(ctx, "deadletter")
	if err != nil {
		return err
	}
	return errors.Join(use(client), client.Close())
}

// parseIDs reads the ids of dead letters.
func parseIDs(args []string) ([]oona.EntryID, error) {
	ids := make([]oona.EntryID, len(args))
	for i, arg := range args {
		id, err := oona.ParseEntryID(arg)
		if err != nil {
			return nil, usageErrorf("%q is no id of a dead letter: list prints them", arg)
		}
		ids[i] = id
	}
	return ids, nil
}

func (a *app) deadletterListCommand() *cobra.Command {
	var after string
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List dead letters, oldest first",
		Args:  argsError(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			from, err := parseIDs([]string{after})
			if err != nil {
				return err
			}
			if limit < 1 {
				return usageErrorf("--limit must be 1 or more")
			}
			return a.withLetters(cmd.Context(), func(client *oona.Client) error {
				letters, err := client.DeadLetters().List(cmd.Context(), from[0], limit)
				if err != nil {
					return err
				}
				return a.printLetters(letters)
			})
		},
	}
	cmd.Flags().StringVar(&after, "after", "0-0", "only those after this id")
	cmd.Flags().IntVar(&limit, "limit", 100, "at most so many")
	return cmd
}

func (a *app) printLetters(letters []oona.Letter) error {
	list := make([]deadLetter, len(letters))
	rows := make([][]string, len(letters))
	for i := range letters {
		l := describeLetter(&letters[i])
		list[i] = l
		rows[i] = []string{l.ID, l.Reason, l.Type, l.Stream, fmt.Sprint(l.Attempts), l.LastFailed.UTC().Format(time.RFC3339), l.Error}
	}
	if a.json {
		return printJSON(a.Out, list)
	}
	if len(list) == 0 {
		_, err := fmt.Fprintln(a.Out, "no dead letters")
		return err
	}
	return printTable(a.Out, []string{"ID", "REASON", "TYPE", "STREAM", "ATTEMPTS", "LAST FAILED", "ERROR"}, rows)
}

func (a *app) deadletterShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show ID",
		Short: "Print one dead letter with its message, as JSON",
		Args:  argsError(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			ids, err := parseIDs(args)
			if err != nil {
				return err
			}
			return a.withLetters(cmd.Context(), func(client *oona.Client) error {
				letter, err := client.DeadLetters().Get(cmd.Context(), ids[0])
				if err != nil {
					return err
				}
				shown := describeLetter(&letter)
				if letter.Body != nil {
					if shown.Message, err = (protojson.MarshalOptions{UseProtoNames: true}).Marshal(letter.Body); err != nil {
						return fmt.Errorf("show: %w", err)
					}
				}
				return printJSON(a.Out, shown)
			})
		},
	}
}

func (a *app) deadletterDropCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "drop ID...",
		Short: "Delete dead letters for good; asks first, unless --yes",
		Args:  argsError(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			ids, err := parseIDs(args)
			if err != nil {
				return err
			}
			if !yes && !a.confirm(fmt.Sprintf("Delete %d dead letters for good?", len(ids))) {
				return errors.New("nothing was deleted; answer y, or use --yes")
			}
			return a.withLetters(cmd.Context(), func(client *oona.Client) error {
				n, err := client.DeadLetters().Drop(cmd.Context(), ids...)
				if err != nil {
					return err
				}
				if a.json {
					return printJSON(a.Out, map[string]int64{"dropped": n})
				}
				_, err = fmt.Fprintf(a.Out, "dropped %d\n", n)
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}
