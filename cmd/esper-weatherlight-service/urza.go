package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/urza"
)

func (a *app) urzaCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "urza",
		Short: "Add, list, show, verify and remove artifacts of the library",
		Args:  onlyCommands,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.urzaAddCommand(), a.urzaListCommand(), a.urzaShowCommand(), a.urzaVerifyCommand(), a.urzaRemoveCommand())
	return cmd
}

// withLibrary runs a command over the library of the settings.
func (a *app) withLibrary(ctx context.Context, use func(settings, *urza.Library) error) error {
	s, err := a.settings()
	if err != nil {
		return err
	}
	cfg, err := libraryConfig(s, newLogger(a.Err, s.LogFormat, s.LogLevel.Level))
	if err != nil {
		return err
	}
	library, err := openLibrary(ctx, cfg)
	if err != nil {
		return err
	}
	return errors.Join(use(s, library), library.Close())
}

func (a *app) urzaAddCommand() *cobra.Command {
	var blueprint, name, tier, description string
	var tags []string
	var stage uint32
	var announce bool
	cmd := &cobra.Command{
		Use:   "add FILE --blueprint ID",
		Short: "Copy a compiled kernel into the library, with its record",
		Args:  argsError(cobra.ExactArgs(1)),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if blueprint == "" {
			return usageErrorf("urza add: --blueprint is required")
		}
		edit, err := recordEdit(cmd, tier, func(r *urza.Record) {
			set(cmd, "name", &r.Descriptor.Name, name)
			set(cmd, "description", &r.Descriptor.Description, description)
			set(cmd, "stage", &r.Descriptor.Stage, stage)
			set(cmd, "tag", &r.Tags, tags)
		})
		if err != nil {
			return err
		}
		return a.withLibrary(cmd.Context(), func(_ settings, l *urza.Library) error {
			bar := newProgress(a.Err, blueprint)
			record, err := l.Add(cmd.Context(), urza.Addition{
				BlueprintID: blueprint, File: args[0], Edit: edit, Progress: bar.report,
			})
			bar.finish()
			if err != nil {
				return err
			}
			if announce {
				if err := a.announce(cmd.Context(), record); err != nil {
					return err
				}
			}
			return a.printRecord(record)
		})
	}
	cmd.Flags().StringVar(&blueprint, "blueprint", "", "blueprint id (required)")
	cmd.Flags().StringVar(&name, "name", "", "name of the blueprint")
	cmd.Flags().StringVar(&description, "description", "", "what it is")
	cmd.Flags().StringVar(&tier, "tier", "", "safe, experimental or high_risk")
	cmd.Flags().StringArrayVar(&tags, "tag", nil, "tag; repeat for more, replacing those there")
	cmd.Flags().Uint32Var(&stage, "stage", 0, "stage of the blueprint")
	cmd.Flags().BoolVar(&announce, "announce", false, "publish a KERNEL_CATALOG_UPDATE; needs the bus and the secret")
	return cmd
}

// set takes over the value of a flag that was given.
func set[T any](cmd *cobra.Command, flag string, field *T, value T) {
	if cmd.Flags().Changed(flag) {
		*field = value
	}
}

// recordEdit returns the change that the flags ask for.
func recordEdit(cmd *cobra.Command, tier string, change func(*urza.Record)) (func(*urza.Record) error, error) {
	t, err := parseTier(tier)
	if err != nil {
		return nil, err
	}
	return func(r *urza.Record) error {
		set(cmd, "tier", &r.Descriptor.Tier, t)
		change(r)
		return nil
	}, nil
}

// parseTier reads a tier by its name, with or without the enum's prefix.
func parseTier(name string) (pb.BlueprintTier, error) {
	if name == "" {
		return pb.BlueprintTier_BLUEPRINT_TIER_UNSPECIFIED, nil
	}
	full := "BLUEPRINT_TIER_" + strings.TrimPrefix(strings.ToUpper(strings.ReplaceAll(name, "-", "_")), "BLUEPRINT_TIER_")
	t, ok := pb.BlueprintTier_value[full]
	if !ok {
		return 0, usageErrorf("--tier %q is none of safe, experimental, high_risk", name)
	}
	return pb.BlueprintTier(t), nil
}

// announce tells the fleet that a record has changed.
func (a *app) announce(ctx context.Context, record *urza.Record) error {
	client, err := a.client(ctx, "urza")
	if err != nil {
		return err
	}
	_, err = client.Publish(ctx, record.CatalogUpdate())
	return errors.Join(err, client.Close())
}

func (a *app) urzaListCommand() *cobra.Command {
	var q urza.Query
	var tier string
	var stage uint32
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the records, filtered by tier, stage, tag or name",
		Args:  argsError(cobra.NoArgs),
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		t, err := parseTier(tier)
		if err != nil {
			return err
		}
		if cmd.Flags().Changed("tier") {
			q.Tier = &t
		}
		if cmd.Flags().Changed("stage") {
			q.Stage = &stage
		}
		return a.withLibrary(cmd.Context(), func(_ settings, l *urza.Library) error {
			return a.printEntries(l.List(q))
		})
	}
	cmd.Flags().StringVar(&tier, "tier", "", "only this tier")
	cmd.Flags().Uint32Var(&stage, "stage", 0, "only this stage")
	cmd.Flags().StringVar(&q.Tag, "tag", "", "only with this tag, in any case")
	cmd.Flags().StringVar(&q.NamePrefix, "name", "", "only names that begin so")
	return cmd
}

func (a *app) printEntries(entries []urza.Entry) error {
	if a.json {
		if entries == nil {
			entries = []urza.Entry{}
		}
		return printJSON(a.Out, entries)
	}
	if len(entries) == 0 {
		_, err := fmt.Fprintln(a.Out, "no records")
		return err
	}
	rows := make([][]string, len(entries))
	for i, e := range entries {
		note := e.Checksum
		if e.Problem != "" {
			note = "unreadable: " + e.Problem
		}
		rows[i] = []string{e.BlueprintID, e.Name, tierName(e.Tier), fmt.Sprint(e.Stage), strings.Join(e.Tags, ","), e.ArtifactPath, note}
	}
	return printTable(a.Out, []string{"BLUEPRINT", "NAME", "TIER", "STAGE", "TAGS", "ARTIFACT", "SHA-256"}, rows)
}

func tierName(t pb.BlueprintTier) string {
	return strings.ToLower(strings.TrimPrefix(t.String(), "BLUEPRINT_TIER_"))
}

func (a *app) urzaShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show BLUEPRINT",
		Short: "Print one record, whole",
		Args:  argsError(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withLibrary(cmd.Context(), func(_ settings, l *urza.Library) error {
				record, err := l.Record(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return a.printRecord(record)
			})
		},
	}
}

func (a *app) printRecord(r *urza.Record) error {
	if a.json {
		return printJSON(a.Out, r)
	}
	d := r.Descriptor
	rows := [][]string{
		{"blueprint", d.GetBlueprintId()},
		{"name", d.GetName()},
		{"description", d.GetDescription()},
		{"tier", tierName(d.GetTier())},
		{"stage", fmt.Sprint(d.GetStage())},
		{"tags", strings.Join(r.Tags, ", ")},
		{"artifact", r.ArtifactPath},
		{"sha-256", r.Checksum},
		{"modified", unixText(r.ArtifactModTime)},
		{"guard digest", r.GuardDigest},
		{"compile strategy", r.CompileStrategy},
		{"prewarm samples", fmt.Sprint(len(r.PrewarmSamples))},
	}
	return printTable(a.Out, []string{"FIELD", "VALUE"}, rows)
}

func unixText(seconds float64) string {
	if seconds == 0 {
		return ""
	}
	return time.UnixMilli(int64(seconds * 1000)).UTC().Format(time.RFC3339)
}

// progress shows a bar on a terminal, and nothing elsewhere.
type progress struct {
	out   io.Writer
	label string
	last  time.Time
	shown bool
}

func newProgress(out io.Writer, label string) *progress {
	if !isTerminal(out) {
		out = nil
	}
	return &progress{out: out, label: label}
}

// report draws the bar, ten times a second at most, for what takes a while.
func (p *progress) report(done, total int64) {
	if p.out == nil || total < 64<<20 || time.Since(p.last) < 100*time.Millisecond {
		return
	}
	p.last, p.shown = time.Now(), true
	const width = 30
	filled := int(done * width / total)
	fmt.Fprintf(p.out, "\r%s [%s%s] %3d%%", p.label, strings.Repeat("=", filled), strings.Repeat(" ", width-filled), done*100/total)
}

func (p *progress) finish() {
	if p.shown {
		fmt.Fprintf(p.out, "\r%s\r", strings.Repeat(" ", len(p.label)+40))
	}
}
