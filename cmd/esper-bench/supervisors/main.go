// Command supervisors compares weatherlight.Supervisor with suture v4, side by
// side in this process, and prints a table: medians of both, and the ratio of ours
// to suture's, below 1 where ours needs less. It takes some minutes and 1 GB of
// memory; run it on a machine that does nothing else.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"github.com/esper-lite/esper/cmd/esper-bench/supervisor"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "supervisors:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var opts supervisor.Options
	flag.IntVar(&opts.Rounds, "rounds", 0, "turns of each side; 0 means 5")
	flag.StringVar(&opts.Only, "only", "", "measure only what has this in its name")
	asJSON := flag.Bool("json", false, "print JSON")
	flag.Parse()
	rows, err := supervisor.Compare(ctx, opts)
	if err != nil {
		return err
	}
	if *asJSON {
		out := json.NewEncoder(os.Stdout)
		out.SetIndent("", "  ")
		return out.Encode(rows)
	}
	fmt.Printf("%-48s %14s %14s %-3s %8s\n", "", "ours", "suture", "", "ratio")
	for _, r := range rows {
		if r.Ratio == 0 { // suture has nothing like it
			fmt.Printf("%-48s %14.1f %14s %-3s %8s\n", r.Name, r.Ours, "-", r.Unit, "-")
			continue
		}
		fmt.Printf("%-48s %14.1f %14.1f %-3s %8.3f\n", r.Name, r.Ours, r.Suture, r.Unit, r.Ratio)
	}
	return nil
}
