package oonatest

import (
	"context"
	"fmt"
	"net"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// Bus is an in-process bus. It is safe for concurrent use. Close it when done.
type Bus struct {
	server *miniredis.Miniredis
	addr   string
}

// New returns a bus that only this process can reach, by [Bus.Redis]. It opens no
// socket, so it works inside a testing/synctest bubble; its clock, and with it
// expiry, is the bubble's.
func New() *Bus {
	server := miniredis.NewMiniRedis()
	server.ClockTTL(true)
	return &Bus{server: server}
}

// Listen returns a bus that other processes can join at the TCP address addr,
// such as "127.0.0.1:6379"; port 0 picks a free one. Anybody who can reach the
// address can use it: keep it on the loopback interface.
func Listen(addr string) (*Bus, error) {
	b := New()
	if err := b.server.StartAddr(addr); err != nil {
		return nil, fmt.Errorf("oonatest: listen on %s: %w", addr, err)
	}
	b.addr = b.server.Addr()
	return b, nil
}

// URL returns the address for oona.Connect, and "" for a bus that nobody else
// can reach.
func (b *Bus) URL() string {
	if b.addr == "" {
		return ""
	}
	return "redis://" + b.addr + "/0"
}

// Redis returns a new client of the bus, as oona.New wants it. The caller closes
// it.
func (b *Bus) Redis() *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr:       "127.0.0.1:6379", // never dialled; empty would be looked up
		MaxRetries: -1,
		Dialer:     b.Dial,
	})
}

// Dial returns a connection to the bus, whatever the address; it is what
// [Bus.Redis] uses, and what [NewFaults] wants.
func (b *Bus) Dial(context.Context, string, string) (net.Conn, error) {
	conn, err := b.server.Dial()
	if err != nil {
		return nil, fmt.Errorf("oonatest: %w", err)
	}
	return newPipe(conn), nil
}

// Close ends the bus and everything on it.
func (b *Bus) Close() { b.server.Close() }
