package contender

import (
	"errors"
	"sync"
)

// publishers is how many goroutines publish for a contender that does one round
// trip per message.
const publishers = 32

// inParallel calls each for the n numbers from first on, and returns the errors.
func inParallel(first, n int, each func(number int) error) error {
	var wg sync.WaitGroup
	errs := make([]error, publishers)
	for p := range publishers {
		wg.Go(func() {
			for i := first + p; i < first+n && errs[p] == nil; i += publishers {
				errs[p] = each(i)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
