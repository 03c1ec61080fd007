//go:build !linux

// The benchmark needs Linux.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench: this needs Linux: it pins the servers to a core, and reads in /proc what they take")
	os.Exit(2)
}
