// Command esper-bench measures how fast prefetches are served, by us, by the
// least that any implementation could do, and by the Go libraries that one
// would otherwise pick: the same work on the same Redis in the same run, taking
// turns. See README.md.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"github.com/esper-lite/esper/cmd/esper-bench/internal/process"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == process.Command {
		exit(process.Main(os.Args[2]))
	}
	s, err := parseFlags(os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		fmt.Fprintf(os.Stderr, "esper-bench: %v (-help lists the flags)\n", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	exit(run(ctx, s))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "esper-bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run(ctx context.Context, s settings) error {
	results, err := measure(ctx, s)
	if err != nil {
		return err
	}
	if s.json {
		out := json.NewEncoder(os.Stdout)
		out.SetIndent("", "  ")
		return out.Encode(results)
	}
	results.Write(os.Stdout)
	return nil
}
