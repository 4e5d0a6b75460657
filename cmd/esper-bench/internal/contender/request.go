package contender

import (
	"fmt"
	"strconv"
	"strings"
)

// requestIDLen is the length of a UUID's text.
const requestIDLen = 36

// appendRequestID appends the id of a request: as long as a UUID, and its number
// can be read back.
func appendRequestID(b []byte, number int) []byte {
	const prefix = "01890000-0000-7000-8000-"
	var digits [20]byte
	text := strconv.AppendInt(digits[:0], int64(number), 10)
	b = append(b, prefix...)
	for range requestIDLen - len(prefix) - len(text) {
		b = append(b, '0')
	}
	return append(b, text...)
}

// numberOf returns the number in a request's id.
func numberOf(id string) (int, error) {
	if len(id) < requestIDLen {
		return 0, fmt.Errorf("contender: %q is not the id of a request", id)
	}
	return strconv.Atoi(id[24:requestIDLen])
}

// smallPayload is the size of an answer, and of a request unless another is
// asked for.
const smallPayload = 150

// plainPayload returns an id and padding up to size.
func plainPayload(number, size int) []byte {
	return padded(appendRequestID(make([]byte, 0, max(size, requestIDLen)), number), size)
}

// padded appends padding up to size.
func padded(b []byte, size int) []byte {
	for len(b) < size {
		b = append(b, filler[:min(size-len(b), len(filler))]...)
	}
	return b
}

var filler = strings.Repeat("x", 1<<10)
