package oonatest

// What reads the protocol, for tests.
var (
	Reply   = reply
	Command = command
)
