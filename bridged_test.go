package heymanito_test

import "github.com/heymanito/heymanito"

// bridged adds a bridge to the options of a Server, when all tests run once more
// with one: see bridge/testdata/bridged_test.go, which takes this file's place.
func bridged(opts ...heymanito.Option) []heymanito.Option { return opts }
