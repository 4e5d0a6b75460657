// Worker is the program in the README: one worker, kept up until a signal asks it to stop.
//
//	at work
//	told to stop: weatherlight: shutdown
package main

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/esper-lite/esper/weatherlight"
)

func work(ctx context.Context) error {
	fmt.Println("at work") // an error or a panic here is logged, and it is started again
	<-ctx.Done()
	fmt.Println("told to stop:", context.Cause(ctx))
	return nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	supervisor, err := weatherlight.New(weatherlight.Config{Logger: slog.Default()})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := supervisor.Add(weatherlight.Spec{Name: "worker", Worker: weatherlight.WorkerFunc(work)}); err != nil {
		log.Fatal(err)
	}
	if err := supervisor.Run(ctx); err != nil {
		log.Fatal(err)
	}
}
