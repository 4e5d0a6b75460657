package urza

// HoldHashing keeps large artifacts from being hashed for requests until release
// is called.
func HoldHashing(l *Library) (release func()) {
	for range cap(l.hashing) {
		l.hashing <- struct{}{}
	}
	return func() {
		for range cap(l.hashing) {
			<-l.hashing
		}
	}
}
