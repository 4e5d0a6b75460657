// Package oonatest runs a bus inside the process, for tests and for programs
// that want to work without a Redis of their own.
//
// The bus is miniredis: it speaks the protocol and runs the scripts, keeps
// everything in memory, and forgets it when it is closed. It is no Redis: there
// is no persistence and no memory limit, and the lag of groups is not computed.
// [Faults] breaks the connections of a client, to any Redis, at the command that
// a test chooses. Package redistest starts a real server for tests that must know.
package oonatest
