package inboxtest_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/heymanito/heymanito"
	"github.com/heymanito/heymanito/inboxtest"
)

func newMemory(_ *testing.T, b heymanito.InboxBounds) heymanito.Inbox {
	return heymanito.NewMemoryInbox(b)
}

// same is the reopen of stores that are not closed in between: they lose
// nothing.
func same(_ *testing.T, store heymanito.Inbox, _ heymanito.InboxBounds) heymanito.Inbox { return store }

func TestMemoryInbox(t *testing.T) { inboxtest.Run(t, newMemory, inboxtest.Reopen(same)) }

func TestSlice(t *testing.T) { inboxtest.Run(t, newSlice, inboxtest.Reopen(same)) }

// TestRealTime shows that a store need not be in a bubble.
func TestRealTime(t *testing.T) {
	inboxtest.Run(t, newMemory, inboxtest.RealTime())
}

// TestRules keeps what failures quote to what the contract says.
func TestRules(t *testing.T) {
	source, err := os.ReadFile("../inbox.go")
	if err != nil {
		t.Fatal(err)
	}
	words := regexp.MustCompile(`[\s/]+`)
	contract := words.ReplaceAllString(string(source), " ")
	for _, rule := range inboxtest.Rules {
		if !strings.Contains(contract, words.ReplaceAllString(string(rule), " ")) {
			t.Errorf("inbox.go does not say %q", rule)
		}
	}
}
