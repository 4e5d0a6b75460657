package infra_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const contractFile = "../leyline/contract.md"

// cited is a section of the contract that a comment names, perhaps over the end
// of a line.
var cited = regexp.MustCompile(`contract(?:'s)? \(?(?://\s*)?sections? (?://\s*)?(\d+)(?: and (\d+))?`)

// TestContractSections: what comments cite of the contract is there.
func TestContractSections(t *testing.T) {
	contract, err := os.ReadFile(contractFile)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	err = filepath.WalkDir("..", func(file string, entry fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(file) != ".go" {
			return err
		}
		source, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		for _, match := range cited.FindAllStringSubmatch(string(source), -1) {
			n++
			for _, section := range match[1:] {
				if section != "" && !strings.Contains(string(contract), "\n## "+section+". ") {
					t.Errorf("%s cites section %s, which %s has not", file, section, contractFile)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n < 20 {
		t.Errorf("only %d citations found", n)
	}
}
