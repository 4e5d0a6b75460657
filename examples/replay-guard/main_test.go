package main

func Example() {
	main()
	// Output:
	// good:     200 started run-1
	// replayed: 409 leyline: replayed
	// stale:    409 leyline: stale
	// forged:   401 leyline: bad_signature
}
