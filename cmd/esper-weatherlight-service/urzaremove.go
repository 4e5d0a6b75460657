package main

import (
	"bufio"
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
			if !yes && !a.confirm(fmt.Sprintf("Remove %s, with the artifacts?", strings.Join(ids, ", "))) {
				return fmt.Errorf("nothing was removed; answer y, or use --yes")
			}
			return a.withLibrary(cmd.Context(), func(_ settings, l *urza.Library) error {
				for _, id := range ids {
					if err := l.Remove(cmd.Context(), id); err != nil {
						return err
					}
					if !a.json {
						fmt.Fprintln(a.Out, "removed", id)
					}
				}
				if a.json {
					return printJSON(a.Out, ids)
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
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
