package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/esper-lite/esper/urza"
)

// verified is the outcome for one artifact.
type verified struct {
	BlueprintID  string `json:"blueprint_id"`
	OK           bool   `json:"ok"`
	Reason       string `json:"reason,omitempty"`
	Error        string `json:"error,omitempty"`
	ArtifactPath string `json:"artifact_path"`
	Checksum     string `json:"checksum"`
	Bytes        int64  `json:"bytes"`
}

func (a *app) urzaVerifyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "verify [BLUEPRINT...]",
		Short: "Read artifacts from start to end and compare them with their records",
		Long: `Reads the artifacts of the given blueprints, or of all, and compares each with
its record. Exits 3 when anything is wrong.`,
		RunE: func(cmd *cobra.Command, ids []string) error {
			return a.withLibrary(cmd.Context(), func(_ settings, l *urza.Library) error {
				bar := newProgress(a.Err, "verify")
				results, err := l.Verify(cmd.Context(), ids, func(p urza.VerifyProgress) { bar.report(p.Done, p.Total) })
				bar.finish()
				if err != nil {
					return err
				}
				return a.printVerified(results)
			})
		},
	}
}

func (a *app) printVerified(results []urza.Verification) error {
	list := make([]verified, len(results))
	rows := make([][]string, len(results))
	wrong := 0
	for i, v := range results {
		list[i] = verified{
			BlueprintID: v.Entry.BlueprintID, OK: v.OK(), Reason: v.Reason(),
			ArtifactPath: v.Entry.ArtifactPath, Checksum: v.Checksum, Bytes: v.Size,
		}
		state := "ok"
		if !v.OK() {
			wrong++
			list[i].Error = v.Err.Error()
			state = v.Reason()
		}
		rows[i] = []string{v.Entry.BlueprintID, state, strconv.FormatInt(v.Size, 10), v.Entry.ArtifactPath, list[i].Error}
	}
	var err error
	if a.json {
		err = printJSON(a.Out, list)
	} else {
		err = printTable(a.Out, []string{"BLUEPRINT", "STATE", "BYTES", "ARTIFACT", "WHAT IS WRONG"}, rows)
		if err == nil {
			_, err = fmt.Fprintf(a.Out, "%d artifacts, %d with something wrong\n", len(results), wrong)
		}
	}
	if err == nil && wrong > 0 {
		return answeredError()
	}
	return err
}
