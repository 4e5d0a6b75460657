package oona

import (
	"strconv"
	"strings"
	"time"

	"github.com/esper-lite/esper/leyline"
)

// delivery is an entry that this consumer holds.
type delivery struct {
	Message
	text       string // the id as Redis writes it
	nonce      string // with its kind; "" for a message without one
	digest     digest // of the nonce, where that is long
	holder     string // what the nonce is bound to
	failed     failures
	deliveries int64    // by XPENDING, where it was taken over; 0 for a first reading
	decided    *outcome // what was decided before, where only the commit is due
	single     bool     // it failed together with others, and is tried by itself

	// The rest is guarded by the lock of held.
	since     time.Time // when it was last known to be ours
	behind    *delivery // the next in a fifo
	retryAt   time.Time
	inHeap    bool
	heapIndex int
}

// detach copies what a delivery shares with the reply it came in, so that one
// that waits does not keep all of that in memory.
func (d *delivery) detach(codec *leyline.Codec) {
	if d.holder == d.text {
		d.holder = strings.Clone(d.text)
	}
	d.raw.payload = strings.Clone(d.raw.payload)
	d.raw.signature = strings.Clone(d.raw.signature)
	if env, err := codec.Open(readOnly(d.raw.payload), readOnly(d.raw.signature)); err == nil { // it opened before
		d.Envelope = env
	}
}

// failures is what is kept of an entry whose handler has failed, or that may
// have killed a process.
type failures struct {
	attempts int // that failed
	starts   int // alone, that never came to an end
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
// "<attempts> <starts> <first ms> <last ms> <error>".
func (f failures) record() string {
	var b []byte
	for _, n := range [...]int64{int64(f.attempts), int64(f.starts), f.firstMs, f.lastMs} {
		b = append(strconv.AppendInt(b, n, 10), ' ')
	}
	return string(append(b, f.err...))
}

func parseFailures(s string) (f failures) {
	numbers := [4]int64{}
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
	return failures{int(numbers[0]), int(numbers[1]), numbers[2], numbers[3], s}
}

// verb says what a commit does with an entry.
type verb uint8

const (
	acknowledge verb = iota + 1 // refused or dropped: acknowledge, count under the reason
	finish                      // done: acknowledge, bind the nonce, answer
	bury                        // dead-letter
	keep                        // failed: note the failure, stay pending
)

// outcome is what a commit does with one delivery.
type outcome struct {
	d       *delivery
	verb    verb
	reason  leyline.Reason // of acknowledge and bury
	answers []sealedMessage
	memory  *sealMemory   // that the answers are in
	retryIn time.Duration // of keep
	free    bool          // likewise: the attempt is not charged
}

// nonce is what the outcome settles for good: nothing for a failure, which is
// tried again.
func (o *outcome) nonce() string {
	if o.verb == keep {
		return ""
	}
	return o.d.nonce
}

// Codes that the scripts return; see commit.lua.
const (
	codeApplied   = '1'
	codeNotOurs   = '0'
	codeReplayed  = 'r'
	codeDone      = 'd'
	codeBelowMark = 's'
	codeFailed    = 'e'
)
