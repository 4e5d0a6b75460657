package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/esper-lite/esper/urza"
)

func (a *app) urzaRemoveCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "remove BLUEPRINT...",
		Short: "Remove records and their artifacts; asks first, unless --yes",
		Args:  argsError(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, ids []string) error {
			return a.withLibrary(cmd.Context(), func(_ settings, l *urza.Library) error {
				for _, id := range ids { // a record that cannot be read can be removed
					if _, err := l.Record(cmd.Context(), id); errors.Is(err, urza.ErrNotFound) {
						return fmt.Errorf("nothing was removed: %w", err)
					}
				}
				if !yes && !a.confirm(fmt.Sprintf("Remove %s, with the artifacts?", strings.Join(ids, ", "))) {
					return fmt.Errorf("nothing was removed; answer y, or use --yes")
				}
				removed, err := a.remove(cmd.Context(), l, ids)
				if a.json {
					err = errors.Join(printJSON(a.Out, removed), err)
				}
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// remove removes one record after the other, up to the first that it cannot, and
// returns the ids of those it has.
func (a *app) remove(ctx context.Context, l *urza.Library, ids []string) ([]string, error) {
	for i, id := range ids {
		if err := l.Remove(ctx, id); err != nil {
			return ids[:i], err
		}
		if !a.json {
			fmt.Fprintln(a.Out, "removed", id)
		}
	}
	return ids, nil
}

// confirm asks a question on stderr; anything but yes is a no.
func (a *app) confirm(question string) bool {
	fmt.Fprintf(a.Err, "%s [y/N] ", question)
	answer, _ := bufio.NewReader(a.In).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return true
	}
	return false
}
