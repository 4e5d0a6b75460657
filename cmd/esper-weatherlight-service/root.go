package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// stdio is where a command reads and writes: results on Out, logs and errors on
// Err.
type stdio struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

// app is what every command shares.
type app struct {
	stdio
	environ []string
	json    bool
	warned  bool // of variables that are no settings
}

// run runs one command and returns the exit code of the process.
func run(ctx context.Context, io stdio, environ, args []string) int {
	a := &app{stdio: io, environ: environ}
	root := a.rootCommand()
	root.SetArgs(args)
	root.SetIn(io.In)
	root.SetOut(io.Out)
	root.SetErr(io.Err)
	code, message := exitCode(root.ExecuteContext(ctx))
	if message != "" {
		fmt.Fprintln(io.Err, "esper-weatherlight-service:", message)
	}
	return code
}

// settings reads the settings, and tells once of variables that look like one.
func (a *app) settings() (settings, error) {
	s, vars, err := loadSettings(a.environ)
	if err != nil {
		return s, err
	}
	if !a.warned {
		a.warned = true
		warnOfUnknown(vars, newLogger(a.Err, s.LogFormat, s.LogLevel.Level))
	}
	return s, nil
}

func (a *app) rootCommand() *cobra.Command {
	serve := a.runCommand()
	root := &cobra.Command{
		Use:   "esper-weatherlight-service",
		Short: "Keeps the control plane of an Esper fleet alive",
		Long: `Weatherlight serves compiled kernels to trainers over Redis Streams, follows
policy updates, refuses what is stale, replayed or forged, and reports how it is.

Settings come from the environment and from a .env file in the working
directory; the environment wins. "config" prints them. "demo" shows everything
in one process, without Redis and without settings.

Exit codes: 0 done, or stopped by SIGINT or SIGTERM; 1 failed; 2 wrong settings
or usage; 3 the answer was an error.`,
		Args:          onlyCommands,
		RunE:          serve.RunE,
		Version:       readBuildInfo().String(), // for --version
		SilenceUsage:  true,
		SilenceErrors: true,

		SuggestionsMinimumDistance: 2,
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.Flags().AddFlagSet(serve.Flags())
	root.PersistentFlags().BoolVar(&a.json, "json", false, "print results as one JSON document")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageErrorf("%w", err) })
	root.AddCommand(serve, a.demoCommand(), a.configCommand(), a.prefetchCommand(), a.urzaCommand(), a.policyCommand(), a.deadletterCommand(),
		a.statusCommand(), a.healthcheckCommand(), a.versionCommand())
	return root
}

// onlyCommands refuses what is neither a command nor a flag.
func onlyCommands(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := fmt.Sprintf("; %q lists the commands", cmd.CommandPath()+" --help")
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		hint = fmt.Sprintf("; did you mean %s?", strings.Join(near, " or "))
	}
	return usageErrorf("unknown command %q%s", args[0], hint)
}

// exactArgs and the like, as usage errors.
func argsError(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageErrorf("%s: %w", cmd.Name(), err)
		}
		return nil
	}
}
