package main

import (
	"encoding/json"
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/esper-lite/esper/leyline"
	pb "github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
)

// documentOf returns a message as one line of JSON, with the names of the schema,
// as an index wants it. A packet also has its values by name: of a repeated name
// the last one counts. Times that are none fail, as they do in Nissa.
func documentOf(m *oona.Message) ([]byte, error) {
	body, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m.Body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", leyline.Malformed, err)
	}
	document := struct {
		Type     string             `json:"type"`
		Stream   string             `json:"stream"`
		EntryID  string             `json:"entry_id"`
		Received time.Time          `json:"received_at"`
		Signer   string             `json:"signer,omitempty"`
		Message  json.RawMessage    `json:"message"`
		Values   map[string]float64 `json:"values,omitempty"`
	}{string(m.Body.ProtoReflect().Descriptor().Name()), m.Stream, m.ID.String(), m.Arrival.UTC(), m.Envelope.Source(), body, nil}
	if packet, ok := m.Body.(*pb.TelemetryPacket); ok {
		document.Values = valuesOf(packet)
	}
	line, err := json.Marshal(document)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", leyline.Malformed, err)
	}
	return append(line, '\n'), nil
}

func valuesOf(packet *pb.TelemetryPacket) map[string]float64 {
	values := make(map[string]float64, len(packet.GetMetrics()))
	for _, p := range packet.GetMetrics() {
		if v := p.GetValue(); !math.IsNaN(v) && !math.IsInf(v, 0) { // JSON has no word for them
			values[p.GetName()] = v
		}
	}
	return values
}
