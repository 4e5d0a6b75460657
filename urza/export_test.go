package urza

import "time"

// Decode gives the fuzz test both readings of a row: that of the index and the
// whole one.
func Decode(row Row) (Entry, *Record, error) {
	record, err := decodeRow(row)
	return new(entryReader).read(&row), record, err
}

// Encode is the inverse of Decode.
func Encode(r *Record) (Row, error) { return encodeRow(r) }

// FormatFloat writes a number as Python does.
func FormatFloat(f float64, bits int) string { return formatFloat(f, bits) }

// UnixSeconds is a time as records have it.
func UnixSeconds(t time.Time) float64 { return unixSeconds(t.UnixNano()) }

// ForgetLooks has every file looked at again.
func ForgetLooks(l *Library) {
	for _, it := range l.index.all() {
		it.looked.Store(0)
	}
}
