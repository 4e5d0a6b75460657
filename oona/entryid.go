package oona

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// EntryID is the id of a stream entry: the server's Unix time in ms when the
// entry was added, and a sequence number. Whoever adds an entry may also choose
// its id, as long as the ids of a stream rise; so it is ordered, but no proof of
// time. The zero EntryID is before every entry.
type EntryID struct {
	Ms  uint64
	Seq uint64
}

// ParseEntryID reads "<ms>-<seq>" or "<ms>", as Redis does.
func ParseEntryID(s string) (EntryID, error) {
	ms, seq, both := strings.Cut(s, "-")
	var id EntryID
	var err error
	if id.Ms, err = strconv.ParseUint(ms, 10, 64); err != nil {
		return EntryID{}, fmt.Errorf("oona: entry id %q: %w", s, err)
	}
	if both {
		if id.Seq, err = strconv.ParseUint(seq, 10, 64); err != nil {
			return EntryID{}, fmt.Errorf("oona: entry id %q: %w", s, err)
		}
	}
	return id, nil
}

// String returns "<ms>-<seq>".
func (id EntryID) String() string {
	var b [41]byte
	out := strconv.AppendUint(b[:0], id.Ms, 10)
	out = append(out, '-')
	return string(strconv.AppendUint(out, id.Seq, 10))
}

// IsZero reports whether id is before every entry.
func (id EntryID) IsZero() bool { return id == EntryID{} }

// Compare returns -1, 0 or +1 as id is before, equal to or after other.
func (id EntryID) Compare(other EntryID) int {
	return cmp.Or(cmp.Compare(id.Ms, other.Ms), cmp.Compare(id.Seq, other.Seq))
}

// next returns the first id after this one.
func (id EntryID) next() EntryID {
	if id.Seq++; id.Seq == 0 {
		id.Ms++
	}
	return id
}

// Time returns the time part of the id.
func (id EntryID) Time() time.Time { return time.UnixMilli(int64(min(id.Ms, 1<<62))) }

// MarshalText returns "<ms>-<seq>".
func (id EntryID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (id *EntryID) UnmarshalText(text []byte) error {
	v, err := ParseEntryID(string(text))
	if err == nil {
		*id = v
	}
	return err
}
