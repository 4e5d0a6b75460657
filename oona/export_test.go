package oona

import "io"

// WaitingToPublish is the number of calls that wait for a round trip.
func (c *Client) WaitingToPublish() int {
	c.additions.mu.Lock()
	defer c.additions.mu.Unlock()
	return len(c.additions.waiting)
}

// ReadStreams returns the ids and payloads that a reply holds.
func ReadStreams(reply []byte) (ids, payloads []string, err error) {
	err = readStreams(reply, func(_ string, _ int, id string, raw rawEntry) {
		ids, payloads = append(ids, id), append(payloads, raw.payload)
	})
	return ids, payloads, err
}

// RewriteFailures reads a record of failures and writes what it read.
func RewriteFailures(record string) string { return parseFailures(record).record() }

// CopyReply writes head to the buffer of a reply that has room for so many bytes,
// copies n bytes of src behind it as go-redis does, and returns all of it.
func CopyReply(room int, head string, src io.Reader, n int64) (string, error) {
	b := replyBuffer{room: room}
	if _, err := b.Write([]byte(head)); err != nil {
		return "", err
	}
	_, err := io.CopyN(&b, src, n)
	return string(b.bytes), err
}
