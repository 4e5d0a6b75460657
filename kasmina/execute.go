package kasmina

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
)

// Keys of the annotations that are read.
const (
	annotationRun        = "training_run_id"
	annotationApproval   = "approved_by"
	annotationQuarantine = "quarantine"
	annotationReason     = "reason"
	annotationResume     = "resume"
)

// errUnsupported is the answer to an operation that a manager cannot do: the
// trainer moves its seeds itself.
var errUnsupported = errors.New("unsupported_operation")

// act does what a command says.
func (c *Commands) act(ctx context.Context, cmd *pb.AdaptationCommand) error {
	m, id, notes := c.cfg.Manager, cmd.GetTargetSeedId(), cmd.GetAnnotations()
	var err error
	if cmd.GetCommandType() == pb.CommandType_COMMAND_PAUSE {
		if notes[annotationResume] == "true" {
			_, err = m.Resume(ctx, id)
		} else {
			_, err = m.Pause(id)
		}
		return named(err)
	}
	switch op := cmd.GetSeedOperation(); op.GetOperation() {
	case pb.SeedOperation_SEED_OP_GERMINATE:
		_, err = m.Germinate(ctx, Germination{
			SeedID:        id,
			BlueprintID:   op.GetBlueprintId(),
			TrainingRunID: notes[annotationRun],
			Parameters:    op.GetParameters(),
			ApprovedBy:    notes[annotationApproval],
			Quarantine:    notes[annotationQuarantine] == "true",
		})
	case pb.SeedOperation_SEED_OP_CULL:
		_, err = m.Cull(id, cmp.Or(notes[annotationReason], "culled by command"))
	case pb.SeedOperation_SEED_OP_CANCEL:
		_, err = m.Cancel(ctx, id)
	case pb.SeedOperation_SEED_OP_FOSSILIZE:
		_, err = m.Fossilize(id)
	default:
		if !m.Has(id) {
			return errUnknownSeed
		}
		return fmt.Errorf("%w: %v", errUnsupported, op.GetOperation())
	}
	return named(err)
}

// named puts the name of a seed that is not there in place of its error.
func named(err error) error {
	if errors.Is(err, ErrUnknownSeed) {
		return errUnknownSeed
	}
	return err
}

// reject counts and tells a command that is not carried out.
func (c *Commands) reject(o order, cause error) {
	level := pb.TelemetryLevel_TELEMETRY_LEVEL_WARNING
	reason := cause.Error()
	if r := leyline.ReasonOf(cause); r != "" {
		reason = string(r)
		if r == leyline.BadSignature || r == leyline.Unsigned {
			// It came in an authentic envelope: somebody with the key sent
			// what nobody with the key has signed.
			level = pb.TelemetryLevel_TELEMETRY_LEVEL_ERROR
		}
		c.counts.refusals.Count("commands", pb.BusMessageType_BUS_MESSAGE_TYPE_ADAPTATION_COMMAND, r)
	}
	c.counts.rejected.Add(1)
	c.cfg.Logger.Warn("command rejected", "command_id", o.cmd.GetCommandId(), "seed_id", o.cmd.GetTargetSeedId(), "reason", reason)
	c.cfg.Manager.tell(c.outcome(o, "command_rejected", level, reason))
}

// outcome is the event that tells what became of a command.
func (c *Commands) outcome(o order, what string, level pb.TelemetryLevel, reason string) *pb.TelemetryEvent {
	cmd := o.cmd
	operation := ""
	if op := cmd.GetSeedOperation(); op != nil {
		operation = op.GetOperation().String()
	}
	stage := ""
	if s, ok := c.cfg.Manager.Seed(cmd.GetTargetSeedId()); ok {
		stage = s.Stage.String()
	}
	return event(what, level,
		"command_id", cmd.GetCommandId(),
		"command_type", cmd.GetCommandType().String(),
		"operation", operation,
		"seed_id", cmd.GetTargetSeedId(),
		"blueprint_id", cmd.GetSeedOperation().GetBlueprintId(),
		"issued_by", cmd.GetIssuedBy(),
		"stage", stage,
		"reason", strings.TrimSpace(reason),
		"instance", c.cfg.Instance)
}
