package urza

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/esper-lite/esper/leyline/leylinepb"
)

// encodeDescriptor brings members to what descriptor says, in the form of
// Python's MessageToDict with the names of the schema: default values left
// out, enums by name, a float32 with the digits that a float32 needs. Members
// that say so already keep their text.
func encodeDescriptor(members *object, descriptor *leylinepb.BlueprintDescriptor) error {
	old, err := decodeDescriptor(members)
	if err != nil {
		return fmt.Errorf("urza: descriptor: %w", err)
	}
	before, now := old.ProtoReflect(), descriptor.ProtoReflect()
	fields := now.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		name, text, had := fieldMember(members, field)
		if before.Get(field).Equal(now.Get(field)) && (had || !now.Has(field)) {
			continue
		}
		switch {
		case !now.Has(field):
			members.remove(name)
		case field.IsMap():
			members.set(orElse(name, field.TextName()), mapText(text, before.Get(field).Map(), now.Get(field).Map(), field))
		default:
			members.set(orElse(name, field.TextName()), scalarText(field, now.Get(field)))
		}
	}
	return nil
}

func orElse(name, otherwise string) string {
	if name == "" {
		return otherwise
	}
	return name
}

// mapText is encodeDescriptor for the entries of one map of messages.
func mapText(text string, before, now protoreflect.Map, field protoreflect.FieldDescriptor) string {
	entries, err := parseObject(text)
	if err != nil {
		entries = object{} // there was none
	}
	for _, entry := range slices.Clone(entries.members) {
		if !now.Has(protoreflect.ValueOfString(entry.name).MapKey()) {
			entries.remove(entry.name)
		}
	}
	changed := map[string]string{}
	for key, value := range now.Range {
		if !before.Has(key) || !before.Get(key).Equal(value) {
			changed[key.String()] = messageText(field.MapValue().Message(), value.Message())
		}
	}
	for _, key := range slices.Sorted(maps.Keys(changed)) {
		entries.set(key, changed[key])
	}
	return entries.text()
}

// messageText writes a message of scalars.
func messageText(descriptor protoreflect.MessageDescriptor, message protoreflect.Message) string {
	var o object
	for i := range descriptor.Fields().Len() {
		if field := descriptor.Fields().Get(i); message.Has(field) {
			o.set(field.TextName(), scalarText(field, message.Get(field)))
		}
	}
	return o.text()
}

func scalarText(field protoreflect.FieldDescriptor, value protoreflect.Value) string {
	switch field.Kind() {
	case protoreflect.StringKind:
		return quote(strings.ToValidUTF8(value.String(), "\uFFFD"))
	case protoreflect.FloatKind:
		return protoFloat(value.Float(), 32)
	case protoreflect.DoubleKind:
		return protoFloat(value.Float(), 64)
	case protoreflect.EnumKind:
		if known := field.Enum().Values().ByNumber(value.Enum()); known != nil {
			return quote(string(known.Name()))
		}
		return strconv.Itoa(int(value.Enum()))
	default: // booleans and 32-bit integers: the descriptor has nothing else
		return value.String()
	}
}

// protoFloat is formatFloat with the proto JSON names of what is not finite.
func protoFloat(f float64, bitSize int) string {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return quote(formatFloat(f, bitSize))
	}
	return formatFloat(f, bitSize)
}
