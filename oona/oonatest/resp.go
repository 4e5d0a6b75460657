package oonatest

import (
	"bytes"
	"strconv"
	"strings"
)

// command returns the length of the command at the beginning of b, and its name
// in upper case; 0 while it is not whole. Clients send commands as arrays of bulk
// strings.
func command(b []byte) (n int, name string) {
	n, whole := reply(b)
	if !whole {
		return 0, ""
	}
	parts := bytes.SplitN(b[:n], []byte("\r\n"), 4) // *<count>, $<length>, <name>, the rest
	if len(parts) < 4 {
		return n, ""
	}
	return n, strings.ToUpper(string(parts[2]))
}

// maxBulk is the longest string that Redis sends: 512 MB.
const maxBulk = 512 << 20

// reply returns the length of the value at the beginning of b, and whether it is
// whole. It knows the values of RESP2 and RESP3.
func reply(b []byte) (n int, whole bool) {
	line := bytes.Index(b, []byte("\r\n"))
	if line < 1 {
		return 0, false
	}
	n = line + 2
	size, err := strconv.Atoi(string(b[1:line]))
	switch b[0] {
	case '$', '=', '!': // bulk values
		if err != nil || size < 0 {
			return n, true
		}
		if size > maxBulk {
			return 0, false
		}
		n += size + 2
		return n, len(b) >= n
	case '*', '~', '>': // arrays, sets, push messages
	case '%', '|': // maps, attributes
		size *= 2
	default: // values of one line
		return n, true
	}
	for range max(0, size) {
		m, ok := reply(b[n:])
		if !ok {
			return 0, false
		}
		n += m
	}
	return n, true
}
