package oona

import (
	"strconv"
	"time"

	"github.com/esper-lite/esper/leyline"
)

// delivery is an entry that this consumer holds.
type delivery struct {
	Message
	text       string // the id as Redis writes it
	nonce      string // with its kind; "" for a message without one
	holder     string // what the nonce is bound to
	failed     failures
	deliveries int64 // by XPENDING, where it was reclaimed
	since      time.Time
}

// failures is what is kept of an entry whose handler has failed.
type failures struct {
	attempts int
	firstMs  int64
	lastMs   int64
	err      string
}

// maxErrorText bounds what is kept of a handler's error.
const maxErrorText = 512

func (f *failures) note(now time.Time, err error) {
	f.attempts++
	f.lastMs = now.UnixMilli()
	if f.firstMs == 0 {
		f.firstMs = f.lastMs
	}
	f.err = err.Error()
	if len(f.err) > maxErrorText {
		f.err = f.err[:maxErrorText]
	}
}

// record and parseFailures are the form in which failures are kept in Redis:
// "<attempts> <first ms> <last ms> <error>".
func (f failures) record() string {
	b := strconv.AppendInt(nil, int64(f.attempts), 10)
	b = strconv.AppendInt(append(b, ' '), f.firstMs, 10)
	b = strconv.AppendInt(append(b, ' '), f.lastMs, 10)
	return string(append(append(b, ' '), f.err...))
}

func parseFailures(s string) (f failures) {
	numbers := [3]int64{}
	for i := range numbers {
		end := 0
		for end < len(s) && s[end] != ' ' {
			end++
		}
		n, err := strconv.ParseInt(s[:end], 10, 64)
		if err != nil || end == len(s) {
			return failures{}
		}
		numbers[i], s = n, s[end+1:]
	}
	return failures{int(numbers[0]), numbers[1], numbers[2], s}
}

// verb says what a commit does with an entry.
type verb uint8

const (
	acknowledge verb = iota + 1 // refused or dropped: acknowledge, count under the reason
	finish                      // done: bind the nonce, acknowledge, answer
	bury                        // dead-letter
	keep                        // failed: note the failure, stay pending
)

// outcome is what a commit does with one delivery.
type outcome struct {
	d       *delivery
	verb    verb
	reason  leyline.Reason // of acknowledge and bury
	answers []sealedMessage
	retryIn time.Duration // of keep
}

// Codes that the commit script returns.
const (
	codeApplied   = '1'
	codeNotOurs   = '0'
	codeReplayed  = 'r'
	codeDone      = 'd'
	codeBelowMark = 's'
	codeFailed    = 'e'
)
