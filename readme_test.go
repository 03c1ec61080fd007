package heymanito_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// The program of each README, and of docs/embedding.md, pasted into an empty module,
// compiles.
func TestReadmeCompiles(t *testing.T) {
	root, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	sum, err := os.ReadFile("go.sum")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```go\n(package main.*?)```")
	for _, name := range []string{"README.md", "README.es.md", "docs/embedding.md"} {
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			program := block.FindSubmatch(text)
			if program == nil {
				t.Fatal("no program in it")
			}
			dir := t.TempDir()
			write := func(name string, b []byte) {
				if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			write("main.go", program[1])
			write("go.sum", sum)
			write("go.mod", []byte("module readme\n\ngo 1.26\n\nrequire github.com/heymanito/heymanito v0.0.0\n\nreplace github.com/heymanito/heymanito => "+root+"\n"))
			cmd := exec.CommandContext(t.Context(), "go", "vet", "./...")
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		})
	}
}
