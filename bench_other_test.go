//go:build !unix

package heymanito_test

// benchServerProcess: the benchmarks that need it are for unix.
func benchServerProcess() bool { return false }
