package urza

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
)

// lookInterval is how long a look at a file's identity counts for
// [Library.AnswerKnown]: looking for every request would cost more than all else
// that is done for one.
const lookInterval = 90 * time.Millisecond

// timedHits is of how many look-ups one is timed: reading the clock takes longer than
// the look-up.
const timedHits = 64

// AnswerKnown is [Library.Answer] for a request that can be answered at once, into
// answer, which must be zero: the row is in the index, its file was verified, and
// it is still that file. It reports false, and has done nothing, where there may be
// something to read or to hash, or the answer may be an error.
//
// Whether it is still that file it does not look up for every request. So for up to
// 100 ms after somebody changed a file behind the library's back the answer may hold
// the old checksum, by which whoever loads the file finds out.
func (l *Library) AnswerKnown(request *leylinepb.KernelPrefetchRequest, answer *leylinepb.KernelArtifactReady) bool {
	start := time.Now()
	it := l.index.get(request.GetBlueprintId())
	if it == nil || l.ctx.Err() != nil {
		return false
	}
	p := it.proof.Load()
	if p == nil || p.name == "" || it.entry.Problem != "" || !l.seenLately(it, p, start) {
		return false
	}
	if l.checkProof(&it.entry, p) != nil {
		return false
	}
	if l.count.hits.Add(1)%timedHits == 1 {
		l.count.lookup.set(time.Since(start))
	}
	fillReady(answer, request, it, p.sum)
	return true
}

// seenLately reports whether an item's file was the one of the proof within the
// last lookInterval.
func (l *Library) seenLately(it *item, p *proof, now time.Time) bool {
	if age := now.UnixNano() - it.looked.Load(); age >= 0 && age < int64(lookInterval) {
		return true
	}
	info, err := l.store.look(p.name, now)
	if err != nil || identify(info) != p.id {
		return false
	}
	it.looked.Store(now.UnixNano())
	return true
}

// answerOne answers a message that is known.
func (w *PrefetchWorker) answerOne(m *oona.Message, answer *leylinepb.KernelArtifactReady, result *oona.Result) bool {
	defer keepPanic(result)
	request, ok := m.Body.(*leylinepb.KernelPrefetchRequest)
	return ok && w.known.AnswerKnown(request, answer)
}

// answerAllKnown answers what the answerer knows and returns the indexes of what it
// leaves. The answers of a batch share their memory.
func (w *PrefetchWorker) answerAllKnown(batch []*oona.Message, results []oona.Result) (rest []int) {
	ready := make([]leylinepb.KernelArtifactReady, len(batch))
	answers := make([]proto.Message, len(batch))
	start := time.Now()
	for i, m := range batch {
		switch {
		case w.answerOne(m, &ready[i], &results[i]):
		case results[i].Err != nil: // it panicked
			continue
		default:
			rest = append(rest, i)
			continue
		}
		answers[i] = &ready[i]
		results[i].Answers = answers[i : i+1 : i+1]
		w.count.hits.Add(1)
		end := time.Now()
		w.latency.add(end.Sub(start))
		start = end
	}
	return rest
}
