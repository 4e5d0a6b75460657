package main

import (
	"errors"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/esper-lite/esper/oona"
)

// busError is trouble with Redis that ends a command, with what to do first.
type busError struct {
	err    error
	remedy string
}

func (e *busError) Error() string { return e.err.Error() }

func (e *busError) Unwrap() error { return e.err }

// busTrouble adds to an error of Redis what to look at, with the address that is
// set but without what is secret in it. An error that says it itself stays as it
// is.
func busTrouble(s settings, err error) error {
	if err == nil || errors.Is(err, oona.ErrEvicting) {
		return err
	}
	address := "REDIS_URL is " + maskURL(s.RedisURL)
	if reply, ok := errors.AsType[redis.Error](err); ok && refusesUs(reply) {
		return &busError{err, "Redis answers, but not to this user: give user and password as redis://USER:PASSWORD@HOST:PORT/0 (" + address + `); which rights they need stands in infra/operations.md, "Redis".`}
	}
	return &busError{err, `Is redis-server up, does it listen at that address, and can this host reach it? "redis-cli -h HOST -p PORT ping" says PONG then. ` + address + ": does that name the bus of the fleet?"}
}

// refusesUs reports whether a reply means that user, password or rights are wrong.
func refusesUs(reply redis.Error) bool {
	for _, prefix := range []string{"NOAUTH", "WRONGPASS", "NOPERM", "ERR AUTH", "ERR invalid password"} {
		if strings.HasPrefix(reply.Error(), prefix) {
			return true
		}
	}
	return false
}
