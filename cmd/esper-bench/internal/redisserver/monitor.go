package redisserver

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
)

// Calls counts commands by who ran them: a client over its connection, or a
// script inside the server. INFO commandstats cannot tell the two apart.
type Calls struct {
	Sent   map[string]int64
	Script map[string]int64
}

// Monitor counts every command until the returned function is called, by
// MONITOR. It slows the server to about a third: count with it, or measure time,
// not both. Commands of ours between the two calls are counted too, except INFO
// and what exclude names.
func (s *Server) Monitor(exclude ...string) (stop func() (Calls, error), err error) {
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		return nil, fmt.Errorf("redisserver: monitor: %w", err)
	}
	if _, err := conn.Write([]byte("MONITOR\r\n")); err != nil {
		return nil, fmt.Errorf("redisserver: monitor: %w", err)
	}
	r := bufio.NewReaderSize(conn, 1<<20)
	if line, err := r.ReadString('\n'); err != nil || line != "+OK\r\n" {
		return nil, fmt.Errorf("redisserver: monitor answered %q: %w", line, err)
	}
	calls := Calls{Sent: make(map[string]int64), Script: make(map[string]int64)}
	var wg sync.WaitGroup
	wg.Go(func() { calls.count(r) })
	return func() (Calls, error) {
		// The lines of all that ran before now are in the socket already.
		err := conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		wg.Wait()
		for _, name := range append(exclude, "info") {
			delete(calls.Sent, name)
		}
		conn.Close()
		return calls, err
	}, nil
}

// count reads lines such as
//
//	+1700000000.123456 [0 lua] "xadd" "oona.kernels.ready" "*" …
//
// until the connection fails.
func (c *Calls) count(r *bufio.Reader) {
	for {
		line, err := r.ReadSlice('\n')
		full := err == bufio.ErrBufferFull
		if err != nil && !full {
			return
		}
		head := string(line[:min(len(line), 128)])
		for full { // the rest of a long line
			_, err = r.ReadSlice('\n')
			if full = err == bufio.ErrBufferFull; err != nil && !full {
				return
			}
		}
		_, rest, ok := strings.Cut(head, "[")
		if !ok {
			continue
		}
		from, rest, _ := strings.Cut(rest, "] \"")
		name, _, _ := strings.Cut(rest, "\"")
		if strings.HasSuffix(from, " lua") {
			c.Script[strings.ToLower(name)]++
		} else {
			c.Sent[strings.ToLower(name)]++
		}
	}
}
