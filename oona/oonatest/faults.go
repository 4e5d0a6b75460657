package oonatest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// FaultKind says what happens to a command.
type FaultKind uint8

const (
	// NoFault: nothing, the zero value.
	NoFault FaultKind = iota
	// BreakBefore ends the connection before the command reaches the server: it
	// has no effect.
	BreakBefore
	// BreakAfter ends the connection after the command took effect, and before
	// its reply arrives.
	BreakAfter
	// Refused answers the command with an error, and keeps it from the server.
	Refused
	// Delayed holds the reply back.
	Delayed
)

// Fault is what happens to one command. Those before it, on the same
// connection, are not affected, nor are those behind it unless the connection
// ends.
type Fault struct {
	Kind FaultKind
	// Reply is the error of Refused, without the leading minus. Empty means
	// "ERR injected fault".
	Reply string
	// Delay is for how long Delayed holds the reply.
	Delay time.Duration
}

// Faults makes connections that fail where a test wants them to. Use its Dial as
// the Dialer of redis.Options: it then sees every command of the client, and of
// clients made like it, in the order in which they are written. What a client
// sends to set up a connection (HELLO, AUTH, SELECT, CLIENT, READONLY) is passed
// on and not counted. It works with any Redis, also over a [Bus], and is safe for
// concurrent use.
type Faults struct {
	dial func(ctx context.Context, network, addr string) (net.Conn, error)

	mu       sync.Mutex
	plan     func(n int, command string) Fault
	commands []string
}

// NewFaults returns a source of connections that dial makes; nil means TCP. There
// are no faults until [Faults.Plan].
func NewFaults(dial func(ctx context.Context, network, addr string) (net.Conn, error)) *Faults {
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	return &Faults{dial: dial}
}

// Plan starts to count commands anew, from 1, and has each decided by plan, which
// is told its number and its name in upper case. It is called with a lock held,
// for one command at a time. Nil means no faults.
func (f *Faults) Plan(plan func(n int, command string) Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.plan, f.commands = plan, nil
}

// At plans one fault, for the n-th command from now, counted from 1.
func (f *Faults) At(n int, fault Fault) {
	f.Plan(func(i int, _ string) Fault {
		if i == n {
			return fault
		}
		return Fault{}
	})
}

// Commands returns the names of the commands counted so far, in their order.
func (f *Faults) Commands() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.commands...)
}

// Dial makes a connection; see redis.Options.Dialer.
func (f *Faults) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := f.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &faultyConn{Conn: conn, faults: f}, nil
}

// decide counts a command and says what happens to it.
func (f *Faults) decide(command string) Fault {
	switch command {
	case "HELLO", "AUTH", "SELECT", "CLIENT", "READONLY":
		return Fault{}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.commands = append(f.commands, command)
	if f.plan == nil {
		return Fault{}
	}
	return f.plan(len(f.commands), command)
}

// faultyConn is one connection. The commands that were written and not answered
// wait in expected, each with its fault.
type faultyConn struct {
	net.Conn
	faults *Faults

	mu       sync.Mutex
	expected []Fault
	broken   bool // nothing more reaches the server

	written []byte // the beginning of a command; the writer's
	read    []byte // the beginning of a reply; the reader's
	deliver []byte // replies for the reader; likewise
}

// errBroken is the end of a connection that was broken on purpose.
var errBroken = fmt.Errorf("oonatest: connection broken by a fault: %w", io.EOF)

// Write passes on the commands that are whole, one by one.
func (c *faultyConn) Write(b []byte) (int, error) {
	c.written = append(c.written, b...)
	for {
		n, name := command(c.written)
		if n == 0 {
			return len(b), nil
		}
		if err := c.send(c.written[:n], c.faults.decide(name)); err != nil {
			return 0, err
		}
		c.written = c.written[n:]
	}
}

func (c *faultyConn) send(raw []byte, fault Fault) error {
	c.mu.Lock()
	if c.broken {
		c.mu.Unlock()
		return nil // lost, as on any connection that ended
	}
	c.expected = append(c.expected, fault)
	c.broken = fault.Kind == BreakBefore || fault.Kind == BreakAfter
	c.mu.Unlock()
	if fault.Kind == BreakBefore || fault.Kind == Refused {
		return nil
	}
	_, err := c.Conn.Write(raw)
	return err
}

// Read delivers replies up to the first fault that is due.
func (c *faultyConn) Read(b []byte) (int, error) {
	for len(c.deliver) == 0 {
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	n := copy(b, c.deliver)
	c.deliver = c.deliver[n:]
	return n, nil
}

// next takes in one reply, or what stands for it.
func (c *faultyConn) next() error {
	c.mu.Lock()
	var fault Fault
	if len(c.expected) > 0 {
		fault = c.expected[0]
	}
	c.mu.Unlock()
	switch fault.Kind {
	case BreakBefore:
		return c.end()
	case Refused:
		c.deliver = append(c.deliver, "-"...)
		c.deliver = append(c.deliver, strings.TrimSpace(orElse(fault.Reply, "ERR injected fault"))...)
		c.deliver = append(c.deliver, "\r\n"...)
		c.settle()
		return nil
	}
	n, err := c.frame()
	if err != nil {
		return err
	}
	if c.read[0] == '>' { // a push message answers nothing
		c.deliver, c.read = append(c.deliver, c.read[:n]...), c.read[n:]
		return nil
	}
	if fault.Kind == BreakAfter {
		return c.end()
	}
	if fault.Kind == Delayed {
		time.Sleep(fault.Delay)
	}
	c.deliver, c.read = append(c.deliver, c.read[:n]...), c.read[n:]
	c.settle()
	return nil
}

// frame reads until one reply is whole and returns its length.
func (c *faultyConn) frame() (int, error) {
	buf := make([]byte, 32<<10)
	for {
		if n, whole := reply(c.read); whole {
			return n, nil
		}
		n, err := c.Conn.Read(buf)
		c.read = append(c.read, buf[:n]...)
		if err != nil && n == 0 {
			return 0, err
		}
	}
}

// settle takes the command that was answered from those expected.
func (c *faultyConn) settle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.expected) > 0 {
		c.expected = c.expected[1:]
	}
}

func (c *faultyConn) end() error { return errors.Join(errBroken, c.Conn.Close()) }

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
