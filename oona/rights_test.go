package oona_test

import (
	"os"
	"strings"
	"testing"

	"github.com/esper-lite/esper/oona/oonatest/redistest"
)

// documentedRights are the arguments of the ACL command in the package doc.
func documentedRights(t testing.TB, password string) []any {
	t.Helper()
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(doc), "//\tACL SETUSER")
	rest, _, ended := strings.Cut(rest, "\n//\n")
	if !found || !ended {
		t.Fatal("the package doc has no ACL command")
	}
	args := []any{"ACL", "SETUSER"}
	for word := range strings.FieldsSeq(strings.ReplaceAll(rest, "//", " ")) {
		args = append(args, strings.Replace(word, ">PASSWORD", ">"+password, 1))
	}
	return args
}

// The rights that the package doc lists are enough for everything, and none of
// them is too many. AUTH is a part of HELLO for go-redis, but not for everybody.
func TestSmallestRights(t *testing.T) {
	server := redistest.Start(t, "--appendfsync", "no")
	admin := server.Client()
	args := documentedRights(t, "pass")
	if err := admin.Do(t.Context(), args...).Err(); err != nil {
		t.Fatal(err)
	}
	url := strings.Replace(server.URL(), "redis://", "redis://weatherlight:pass@", 1)
	resetCounts(t, admin)
	everything(t, admin, connect(t, url, "a"))
	used := commandCounts(t, admin)
	for _, arg := range args {
		name, isCommand := strings.CutPrefix(arg.(string), "+")
		if isCommand && used[name] == 0 && name != "auth" {
			t.Errorf("+%s was not needed", name)
		}
	}
}
