package heymanito_test

import (
	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/bridge"
)

func bridged(opts ...heymanito.Option) []heymanito.Option {
	return append(opts, heymanito.WithBridge(bridge.New()))
}
