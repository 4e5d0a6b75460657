package oona

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// sealedMessage is a message ready to be added. Its fields go to the client by
// their addresses, which costs nothing, and so must stay where they are.
type sealedMessage struct {
	stream    string
	payload   string
	signature string
	once      string   // what it is known by, if it must not be added twice
	receipt   *Receipt // nil for an answer, which is added by a commit
}

// sealer seals messages one behind the other, into memory that they share.
type sealer struct {
	client *Client
	now    time.Time // when what does not say so is issued
	memory *sealMemory
	buf    []byte
	block  int
	asker  string // source of the last request that was answered
}

const (
	sealRoom  = 512      // bytes that most messages fit into
	sealBlock = 64 << 10 // bytes taken at a time, at most
	// sealMany is from how many messages on their memory is used again: so one that
	// is alone does not hold all that a batch needs.
	sealMany = 16
)

// sealer returns one for about n messages. Its user says when it is done with the
// memory.
func (c *Client) sealer(n int) sealer {
	s := sealer{client: c, now: time.Now(), block: min(max(n, 1)*sealRoom, sealBlock)}
	if n >= sealMany {
		s.block = sealBlock
		s.memory = sealMemories.Get().(*sealMemory)
		s.memory.users.Store(1)
	}
	return s
}

// room returns memory for n sealed messages. Most requests have one answer: a batch
// of these shares it.
func (s *sealer) room(n int) []sealedMessage {
	if s.memory == nil {
		return make([]sealedMessage, n)
	}
	return s.memory.room(n)
}

// seal seals a message for a stream.
func (s *sealer) seal(stream string, o *Outgoing) (sealedMessage, error) {
	h := o.Header
	h.Audience = audience(stream)
	if h.IssuedAt.IsZero() {
		h.IssuedAt = s.now
	}
	if o.Once && h.MessageID == "" {
		h.MessageID = newMessageID()
	}
	if cap(s.buf)-len(s.buf) < sealRoom {
		s.buf = s.memory.bytes(s.block)
	}
	start := len(s.buf)
	buf, signature, err := s.client.cfg.Codec.Seal(s.buf, o.Message, h)
	if err != nil {
		return sealedMessage{}, fmt.Errorf("oona: publish to %s: %w", stream, err)
	}
	end := len(buf)
	s.buf = append(buf, signature[:]...)
	sealed := sealedMessage{stream: stream, payload: view(s.buf[start:end]), signature: view(s.buf[end:])}
	if o.Once {
		sealed.once = h.MessageID
	}
	return sealed, nil
}

// sealMemory is what the messages of a batch are sealed into. It is used again once
// every user said that it is done: nothing will send these messages again. Memory of
// which somebody never says so is left to the garbage collector. The methods of a nil
// one do the same with memory that is used once.
type sealMemory struct {
	users  atomic.Int32
	blocks [][]byte // of sealBlock bytes each
	taken  int      // blocks
	sealed []sealedMessage
}

var sealMemories = sync.Pool{New: func() any { return new(sealMemory) }}

// mostKept bounds what is kept for the next use, in blocks.
const mostKept = 8

// bytes returns an empty slice of that capacity.
func (m *sealMemory) bytes(size int) []byte {
	if m == nil {
		return make([]byte, 0, size)
	}
	if m.taken == len(m.blocks) {
		m.blocks = append(m.blocks, make([]byte, sealBlock))
	}
	m.taken++
	return m.blocks[m.taken-1][:0]
}

// room returns n sealed messages that are zero.
func (m *sealMemory) room(n int) []sealedMessage {
	first := len(m.sealed)
	if n > cap(m.sealed)-first {
		m.sealed, first = make([]sealedMessage, 0, max(n, sealBlock/sealRoom)), 0
	}
	m.sealed = m.sealed[:first+n]
	return m.sealed[first : first+n : first+n]
}

// use notes another user.
func (m *sealMemory) use() {
	if m != nil {
		m.users.Add(1)
	}
}

// done ends a use. After the last, nothing that was sealed is there any more, so that
// a mistake shows.
func (m *sealMemory) done() {
	if m == nil || m.users.Add(-1) > 0 {
		return
	}
	clear(m.sealed)
	m.sealed, m.taken = m.sealed[:0], 0
	m.blocks = slices.Delete(m.blocks, min(len(m.blocks), mostKept), len(m.blocks))
	sealMemories.Put(m)
}
