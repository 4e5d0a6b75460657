package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
	"github.com/esper-lite/esper/tamiyo"
)

func (a *app) policyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Publish, show and roll back policies",
		Args:  onlyCommands,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.policyPublishCommand(), a.policyShowCommand(), a.policyRollbackCommand())
	return cmd
}

// publishedPolicy is what publish and rollback print.
type publishedPolicy struct {
	PolicyID string    `json:"policy_id"`
	Version  string    `json:"tamiyo_policy_version"`
	IssuedAt time.Time `json:"issued_at"`
	Bytes    int       `json:"bytes"`
	Stream   string    `json:"stream"`
	EntryID  string    `json:"entry_id"`
}

func (a *app) policyPublishCommand() *cobra.Command {
	var version, id, run string
	cmd := &cobra.Command{
		Use:   "publish FILE --version V",
		Short: "Publish a policy to the whole fleet",
		Long: `Publishes the content of FILE as a policy update. Every replica whose architecture
version is V, or any where it has none, verifies it and swaps it in.`,
		Args: argsError(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if version == "" {
				return usageErrorf("policy publish: --version is required")
			}
			payload, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			if len(payload) == 0 {
				return usageErrorf("policy publish: %s is empty, and an empty policy changes nothing", args[0])
			}
			return a.publishPolicy(cmd.Context(), &pb.PolicyUpdate{
				PolicyId: id, TrainingRunId: run, TamiyoPolicyVersion: version, Payload: payload,
			})
		},
	}
	cmd.Flags().StringVar(&version, "version", "", "architecture version that the policy is for (required)")
	cmd.Flags().StringVar(&id, "id", "", "policy id; a new one if empty")
	cmd.Flags().StringVar(&run, "run", "", "training run id")
	return cmd
}

// publishPolicy publishes an update, issued now.
func (a *app) publishPolicy(ctx context.Context, update *pb.PolicyUpdate) (err error) {
	client, err := a.client(ctx, "policy")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	update.Version, update.IssuedAt = 1, timestamppb.Now()
	if update.PolicyId == "" {
		update.PolicyId = "policy-" + uuid.NewString()
	}
	receipts, err := client.Publish(ctx, update)
	if err != nil {
		return err
	}
	return a.printPublished(update, receipts[0])
}

func (a *app) printPublished(update *pb.PolicyUpdate, r oona.Receipt) error {
	p := publishedPolicy{
		PolicyID: update.GetPolicyId(), Version: update.GetTamiyoPolicyVersion(), IssuedAt: update.GetIssuedAt().AsTime(),
		Bytes: len(update.GetPayload()), Stream: r.Stream, EntryID: r.ID.String(),
	}
	if a.json {
		return printJSON(a.Out, p)
	}
	_, err := fmt.Fprintf(a.Out, "published %s, version %s, %d bytes, as %s on %s\n", p.PolicyID, p.Version, p.Bytes, p.EntryID, p.Stream)
	return err
}

// keptPolicies is what show prints.
type keptPolicies struct {
	Current  *tamiyo.Update `json:"current"`
	Previous *tamiyo.Update `json:"previous"`
}

// kept reads the policies that the service on this host has on disk.
func (a *app) kept() (keptPolicies, error) {
	s, err := a.settings()
	if err != nil {
		return keptPolicies{}, err
	}
	state, err := tamiyo.ReadState(s.PolicyDir)
	return keptPolicies{state.Current, state.Previous}, policyDirTrouble(s, err)
}

func (a *app) policyShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show",
		Short: "Print the policy that runs on this host, and the one before",
		Args:  argsError(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			kept, err := a.kept()
			if err != nil {
				return err
			}
			if a.json {
				return printJSON(a.Out, kept)
			}
			if kept.Current == nil && kept.Previous == nil {
				_, err = fmt.Fprintln(a.Out, "no policy runs on this host: none was published, or none has reached it yet\n→ publish one: policy publish FILE --version V")
				return err
			}
			var rows [][]string
			for _, p := range []struct {
				name string
				u    *tamiyo.Update
			}{{"current", kept.Current}, {"previous", kept.Previous}} {
				if u := p.u; u != nil {
					rows = append(rows, []string{p.name, u.PolicyID, u.Version, u.IssuedAt.Format(time.RFC3339), fmt.Sprint(u.Bytes), u.Checksum})
				}
			}
			return printTable(a.Out, []string{"", "POLICY", "VERSION", "ISSUED", "BYTES", "SHA-256"}, rows)
		},
	}
}

func (a *app) policyRollbackCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rollback",
		Short: "Publish the policy from before as a new update",
		Long: `Publishes the payload of the policy that ran on this host before the present one,
as a new update, so that the whole fleet goes back.`,
		Args: argsError(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			kept, err := a.kept()
			if err != nil {
				return err
			}
			before := kept.Previous
			if before == nil {
				return errors.New("there is no policy from before on this host")
			}
			return a.publishPolicy(cmd.Context(), &pb.PolicyUpdate{
				PolicyId: before.PolicyID, TrainingRunId: before.TrainingRunID,
				TamiyoPolicyVersion: before.Version, Payload: before.Payload,
			})
		},
	}
}
