package oona

import (
	"bytes"
	"errors"
	"fmt"
	"unsafe"
)

// errReply is a reply of a read that is not of the form that Redis documents.
var errReply = errors.New("oona: reply to a read is not what it should be")

// replyError is an error that Redis answered. go-redis passes raw replies on as
// they are, so it does not know that this one is an error.
type replyError string

func (e replyError) Error() string { return string(e) }

// RedisError implements redis.Error.
func (replyError) RedisError() {}

// streamEntries are the entries that a read found in a stream.
type streamEntries struct {
	stream  string
	entries []streamEntry
}

type streamEntry struct {
	id  string
	raw rawEntry
}

// collect returns the entries of a reply, by stream. They share its memory.
func collect(reply []byte) (found []streamEntries, err error) {
	err = readStreams(reply, func(stream string, left int, id string, raw rawEntry) {
		if n := len(found); n == 0 || found[n-1].stream != stream {
			found = append(found, streamEntries{stream, make([]streamEntry, 0, left)})
		}
		last := &found[len(found)-1]
		last.entries = append(last.entries, streamEntry{id, raw})
	})
	return found, err
}

// readStreams walks the reply to XREAD or XREADGROUP as it stands on the wire, in
// RESP2 or RESP3, and shows every entry, and how many of its stream are left with
// it, by the reply's own account. The strings share the reply's memory, which must
// not change: an entry costs no allocation. It is written by hand because the
// general way builds a map for each entry, and every message passes here.
func readStreams(reply []byte, visit func(stream string, left int, id string, raw rawEntry)) error {
	r := replyReader{rest: reply}
	if err := r.refusal(); err != nil {
		return err
	}
	kind, streams, err := r.head()
	if err != nil {
		return err
	}
	if kind != '*' && kind != '%' && kind != '_' { // null: nothing came in time
		return fmt.Errorf("%w: %q", errReply, kind)
	}
	for range streams {
		if kind == '*' { // of pairs; a map has them without a head
			if err := r.array(2); err != nil {
				return err
			}
		}
		stream, err := r.text()
		if err != nil {
			return err
		}
		_, entries, err := r.head()
		if err != nil {
			return err
		}
		if entries > len(r.rest)/leastEntry {
			return fmt.Errorf("%w: it ends early", errReply)
		}
		for left := entries; left > 0; left-- {
			id, raw, err := r.entry()
			if err != nil {
				return err
			}
			visit(stream, left, id, raw)
		}
	}
	return nil
}

// leastEntry is less than an entry can be, in bytes of a reply: so nothing is made
// for entries that cannot come.
const leastEntry = 12

// replyReader reads values of the protocol one after the other.
type replyReader struct{ rest []byte }

// refusal is the error that the reply is, if it is one: a line, or in RESP3 a
// text with its size before it.
func (r *replyReader) refusal() error {
	if len(r.rest) == 0 || r.rest[0] != '-' && r.rest[0] != '!' {
		return nil
	}
	text := r.rest[1:]
	if r.rest[0] == '!' {
		_, text, _ = bytes.Cut(text, []byte("\r\n"))
	}
	return replyError(bytes.TrimSpace(text))
}

// entry reads an id and its fields; the fields of one that was deleted are null.
func (r *replyReader) entry() (id string, raw rawEntry, err error) {
	if err := r.array(2); err != nil {
		return "", raw, err
	}
	if id, err = r.text(); err != nil {
		return "", raw, err
	}
	_, fields, err := r.head()
	if err != nil {
		return "", raw, err
	}
	for range fields / 2 {
		name, err := r.text()
		if err != nil {
			return "", raw, err
		}
		value, err := r.text()
		if err != nil {
			return "", raw, err
		}
		switch name {
		case fieldPayload:
			raw.payload, raw.hasPayload = value, true
		case fieldSignature:
			raw.signature, raw.hasSignature = value, true
		}
	}
	return id, raw, nil
}

// head reads the first line of a value: its kind, and its size or, for a null, 0.
func (r *replyReader) head() (kind byte, size int, err error) {
	end := bytes.IndexByte(r.rest, '\n')
	if end < 2 {
		return 0, 0, fmt.Errorf("%w: it ends early", errReply)
	}
	kind = r.rest[0]
	digits := r.rest[1 : end-1]
	r.rest = r.rest[end+1:]
	if len(digits) > 0 && digits[0] == '-' || kind == '_' {
		return kind, 0, nil
	}
	for _, d := range digits {
		if d < '0' || d > '9' || size > 1<<40 {
			return 0, 0, fmt.Errorf("%w: size %q", errReply, digits)
		}
		size = 10*size + int(d-'0')
	}
	return kind, size, nil
}

// array reads the head of an array of that size.
func (r *replyReader) array(want int) error {
	kind, size, err := r.head()
	if err == nil && (kind != '*' || size != want) {
		err = fmt.Errorf("%w: %c of %d, want an array of %d", errReply, kind, size, want)
	}
	return err
}

// text reads a bulk string.
func (r *replyReader) text() (string, error) {
	kind, size, err := r.head()
	if err != nil {
		return "", err
	}
	if kind != '$' || size+2 > len(r.rest) {
		return "", fmt.Errorf("%w: %c of %d", errReply, kind, size)
	}
	value := r.rest[:size]
	r.rest = r.rest[size+2:]
	return view(value), nil
}

// view is a string that shares the bytes, which must not change any more.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
