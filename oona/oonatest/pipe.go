package oonatest

import (
	"net"
	"sync"
)

// pipe gives a connection of miniredis, which is unbuffered, a buffer for what
// we write. Without it a long pipeline deadlocks: the client writes all of it
// before it reads, while the server waits to be read before it reads on. A
// socket has that buffer in the kernel.
type pipe struct {
	net.Conn

	mu      sync.Mutex
	changed *sync.Cond
	buffer  []byte
	closed  bool
}

func newPipe(conn net.Conn) *pipe {
	p := &pipe{Conn: conn}
	p.changed = sync.NewCond(&p.mu)
	go p.flush()
	return p
}

// Write takes all of b at once. The buffer is bounded by what one client sends
// before it reads an answer.
func (p *pipe) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return 0, net.ErrClosed
	}
	p.buffer = append(p.buffer, b...)
	p.changed.Signal()
	return len(b), nil
}

// Close ends the connection; what was written and not yet read is lost.
func (p *pipe) Close() error {
	p.mu.Lock()
	p.closed = true
	p.changed.Signal()
	p.mu.Unlock()
	return p.Conn.Close()
}

// flush passes on what was written until the connection ends.
func (p *pipe) flush() {
	for {
		p.mu.Lock()
		for len(p.buffer) == 0 && !p.closed {
			p.changed.Wait()
		}
		b := p.buffer
		p.buffer = nil
		closed := p.closed
		p.mu.Unlock()
		if closed {
			return
		}
		if _, err := p.Conn.Write(b); err != nil {
			_ = p.Close() // the reader sees it too
			return
		}
	}
}
