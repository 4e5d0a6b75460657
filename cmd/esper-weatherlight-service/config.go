package main

import (
	"github.com/spf13/cobra"
)

func (a *app) configCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "config",
		Short: "Print the resolved settings, secrets masked",
		Args:  argsError(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			s, err := loadSettings(a.environ)
			if err != nil {
				return err
			}
			list := s.describe()
			if a.json {
				return printJSON(a.Out, list)
			}
			rows := make([][]string, len(list))
			for i, l := range list {
				rows[i] = []string{l.Name, l.Value, l.Meaning}
			}
			return printTable(a.Out, []string{"SETTING", "VALUE", "MEANING"}, rows)
		},
	}
}
