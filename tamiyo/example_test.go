package tamiyo_test

import (
	"context"
	"fmt"
	"os"

	"github.com/esper-lite/esper/tamiyo"
)

// A consumer follows the policies on the bus; here a stand-in with two updates,
// the second for another architecture.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "policies-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	ctx := context.Background()
	consumer, err := tamiyo.Open(ctx, tamiyo.Config{
		Bus:                 newStream(update(1, "v1"), update(2, "v2")), // *oona.Client in a program
		Dir:                 dir,
		ArchitectureVersion: "v1",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := consumer.Run(ctx); err != nil {
		fmt.Println(err)
		return
	}
	policy, ok := consumer.Current()
	fmt.Println(policy.PolicyID, policy.Version, ok)
	// Output: policy-1 v1 true
}

// The state of a directory can be read without a consumer.
func ExampleReadState() {
	state, err := tamiyo.ReadState("/nowhere")
	fmt.Println(state.Current, err)
	// Output: <nil> <nil>
}
