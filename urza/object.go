package urza

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// maxDepth bounds the nesting of metadata; Python's decoder gives up at about
// the same depth.
const maxDepth = 1000

// usualMembers is about how many members descriptors and _urza have.
const usualMembers = 16

var errSyntax = errors.New("not a JSON object")

// object is a JSON object whose members keep their order and their text, so
// that what this package does not know is written back as it was found. Like
// Python's decoder it takes NaN, Infinity and -Infinity for numbers.
type object struct {
	members []member
	changed bool // by set or remove
}

type member struct {
	name  string // the key, unquoted
	key   string // the key as JSON text
	value string // JSON text without surrounding space
}

// parseObject reads text, which must be one JSON object. The members share
// their memory with text.
func parseObject(text string) (object, error) {
	var o object
	err := o.parse(text)
	return o, err
}

// parse is parseObject into the memory of o. After an error o is empty.
func (o *object) parse(text string) error {
	o.reset()
	i := skipSpace(text, 0)
	if i >= len(text) || text[i] != '{' {
		return errSyntax
	}
	if o.members == nil {
		o.members = make([]member, 0, usualMembers)
	}
	end, err := o.scan(text, i)
	if err == nil && skipSpace(text, end) != len(text) {
		err = errSyntax
	}
	if err != nil {
		o.reset()
	}
	return err
}

// reset makes o empty and lets go of the text, but not of the memory.
func (o *object) reset() {
	clear(o.members)
	o.members, o.changed = o.members[:0], false
}

// scan reads the object that starts at text[i] and returns where it ends.
func (o *object) scan(text string, i int) (int, error) {
	return scanMembers(text, i, 0, func(key, value string) error {
		name, err := unquote(key)
		if err != nil {
			return err
		}
		o.members = append(o.members, member{name, key, value})
		return nil
	})
}

// get returns the text of the last member of that name, as Python's decoder does.
func (o *object) get(name string) (string, bool) {
	for i := len(o.members) - 1; i >= 0; i-- {
		if o.members[i].name == name {
			return o.members[i].value, true
		}
	}
	return "", false
}

// set replaces the member of that name, or adds it at the end.
func (o *object) set(name, value string) {
	o.changed = true
	for i := len(o.members) - 1; i >= 0; i-- {
		if o.members[i].name == name {
			o.members[i].value = value
			return
		}
	}
	o.members = append(o.members, member{name, quote(name), value})
}

// remove drops every member of that name.
func (o *object) remove(name string) {
	o.changed = true
	kept := o.members[:0]
	for _, m := range o.members {
		if m.name != name {
			kept = append(kept, m)
		}
	}
	o.members = kept
}

// text returns the object without space between its members.
func (o *object) text() string {
	var b strings.Builder
	b.WriteByte('{')
	for i, m := range o.members {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(m.key)
		b.WriteByte(':')
		b.WriteString(m.value)
	}
	b.WriteByte('}')
	return b.String()
}

// quote returns s as a JSON string, without the escapes for HTML.
func quote(s string) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		return `""` // a string always encodes
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// unquote returns the value of a JSON string. It shares memory with text where
// there is nothing to unescape.
func unquote(text string) (string, error) {
	if len(text) < 2 || text[0] != '"' {
		return "", fmt.Errorf("not a string: %.20s", text)
	}
	if strings.IndexByte(text, '\\') < 0 {
		return text[1 : len(text)-1], nil
	}
	var s string
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return "", err
	}
	return s, nil
}
