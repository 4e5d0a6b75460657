package oona_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// docProgram calls the functions of the package doc, which follow it.
const docProgram = `package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/esper-lite/esper/leyline"
	"github.com/esper-lite/esper/leyline/leylinepb"
	"github.com/esper-lite/esper/oona"
	"github.com/esper-lite/esper/oona/oonatest"
)

func main() {
	bus, err := oonatest.Listen("127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer bus.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	client, err := connect(ctx, bus.URL(), leyline.NewSecret("an example is no place for a secret"))
	if err != nil {
		panic(err)
	}
	served := make(chan error)
	serving, stop := context.WithCancel(ctx)
	go func() { served <- serve(serving, client, "kernel.pt") }()
	fmt.Println(ask(ctx, client, "1", "BP001"))
	stop()
	fmt.Println(<-served, client.Close())
}

`

// docFunction is a function in the package doc.
var docFunction = regexp.MustCompile(`(?m)^//\tfunc (?:.*\n//\t)*?}$`)

// TestDocFunctions runs what the package doc shows, as it stands.
func TestDocFunctions(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	var program strings.Builder
	program.WriteString(docProgram)
	for _, function := range docFunction.FindAllString(string(doc), -1) {
		program.WriteString(strings.ReplaceAll(function+"\n\n", "//\t", ""))
	}
	file := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(file, []byte(program.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "go", "run", file).CombinedOutput()
	if want := "kernel.pt <nil>\n<nil> <nil>\n"; err != nil || string(out) != want {
		t.Errorf("%v: %s, want %s", err, out, want)
	}
}
