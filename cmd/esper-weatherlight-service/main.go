// Command esper-weatherlight-service keeps the control plane of an Esper fleet
// alive: it serves compiled kernels to trainers, follows policy updates, and
// reports how it is. Without a command it runs the service; --help lists the
// commands, and the README of the module says more.
package main

import (
	"context"
	"os"
)

func main() {
	tuneCollector()
	os.Exit(run(context.Background(), stdio{os.Stdin, os.Stdout, os.Stderr}, os.Environ(), os.Args[1:]))
}
