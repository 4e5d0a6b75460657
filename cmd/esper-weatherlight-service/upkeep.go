package main

import (
	"strings"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/urza"
	"github.com/esper-lite/esper/weatherlight"
)

const maintenanceOff = "off"

// disposals are the other values of URZA_MAINTENANCE.
var disposals = map[string]urza.Disposal{
	"report":     urza.ReportOnly,
	"quarantine": urza.Quarantine,
	"delete":     urza.Delete,
}

func validMaintenance(value string) bool {
	_, ok := disposals[value]
	return ok || value == maintenanceOff
}

// upkeep returns the workers that look after the library.
func (svc *service) upkeep(s settings, after []string) []weatherlight.Spec {
	var specs []weatherlight.Spec
	if s.Maintenance != maintenanceOff {
		maintainer := urza.NewMaintainer(svc.library, urza.MaintainerConfig{
			MaintenanceOptions: urza.MaintenanceOptions{Disposal: disposals[s.Maintenance]},
			Report:             svc.logMaintenance,
		})
		specs = append(specs, weatherlight.Spec{Name: workerMaintain, Worker: maintainer, After: after})
	}
	if s.ScrubRate > 0 {
		scrubber := urza.NewScrubber(svc.library, urza.ScrubConfig{BytesPerSecond: s.ScrubRate})
		specs = append(specs, weatherlight.Spec{Name: workerScrub, Worker: scrubber, After: after})
	}
	return specs
}

// logMaintenance says what maintenance found, if it found anything.
func (svc *service) logMaintenance(r *urza.MaintenanceReport, err error) {
	found := []any{
		"expired", len(r.Expired), "missing", len(r.Missing), "orphans", len(r.Orphans), "drafts", len(r.Drafts),
		"pending", len(r.Pending), "strangers", len(r.Strangers), "failures", len(r.Failures),
	}
	for _, f := range r.Failures {
		svc.log.Warn("library maintenance could not dispose of something", "blueprint_id", f.BlueprintID, "path", f.Path, "error", f.Err)
	}
	switch {
	case err != nil:
		svc.log.Warn("library maintenance failed; it is tried again", append(found, "error", err)...)
	case len(r.Expired)+len(r.Missing)+len(r.Orphans)+len(r.Drafts)+len(r.Pending)+len(r.Strangers) > 0:
		svc.log.Info("library maintenance", found...)
	}
}

// eventIntegrity is the event that says that the library is damaged.
const eventIntegrity = "urza_integrity_failure"

// tellIntegrity makes an event of what is wrong with the library. The library
// logs it. While it is opened there is nobody to tell yet.
func (svc *service) tellIntegrity(e urza.IntegrityEvent) {
	if svc.reporter == nil {
		return
	}
	const level = pb.TelemetryLevel_TELEMETRY_LEVEL_ERROR
	svc.forward(&pb.TelemetryPacket{
		PacketId:        "urza-" + uuid.NewString(),
		Timestamp:       timestamppb.New(e.Time),
		SourceSubsystem: "urza",
		Level:           level,
		Events: []*pb.TelemetryEvent{{
			EventId:     uuid.NewString(),
			Description: eventIntegrity,
			Level:       level,
			Attributes:  integrityAttributes(e),
		}},
	}, pb.MessagePriority_MESSAGE_PRIORITY_UNSPECIFIED)
}

// integrityAttributes are those that are known. What comes from a row may be no
// UTF-8.
func integrityAttributes(e urza.IntegrityEvent) map[string]string {
	attributes := map[string]string{"kind": string(e.Kind), "error": e.Err.Error()}
	for name, value := range map[string]string{
		"blueprint_id": e.BlueprintID, "artifact_path": e.ArtifactPath, "want": e.Want, "got": e.Got,
	} {
		if value != "" {
			attributes[name] = value
		}
	}
	for name, value := range attributes {
		attributes[name] = strings.ToValidUTF8(value, "\uFFFD")
	}
	return attributes
}
