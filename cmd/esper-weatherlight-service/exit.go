package main

import (
	"errors"
	"fmt"
)

// Exit codes of every command.
const (
	exitDone   = 0 // done, or stopped in order by a signal
	exitFailed = 1 // failed at run time
	exitUsage  = 2 // wrong settings or usage
	exitAnswer = 3 // the answer was an error
)

// exitError ends a command with a code of its own. A nil err prints nothing: the
// command has said it already.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// usageErrorf reports wrong settings or usage; the text names the variable or
// flag.
func usageErrorf(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// answeredError ends a command whose answer, already printed, was an error.
func answeredError() error { return &exitError{code: exitAnswer} }

// exitCode returns the code for what a command returned, and what is left to
// print.
func exitCode(err error) (code int, message string) {
	if err == nil {
		return exitDone, ""
	}
	e, ok := errors.AsType[*exitError](err)
	if !ok {
		message = err.Error()
		if bus, ok := errors.AsType[*busError](err); ok {
			message += "\n→ " + bus.remedy
		}
		return exitFailed, message
	}
	if e.err == nil {
		return e.code, ""
	}
	return e.code, err.Error()
}
