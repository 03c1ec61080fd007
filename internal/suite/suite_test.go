package suite_test

import (
	"errors"
	"testing"

	"github.com/heymanito/heymanito/internal/suite"
)

func TestSaid(t *testing.T) {
	said := suite.Said(t, func(t testing.TB) {
		suite.Parallel(t, 3, func(i int) error {
			if i == 1 {
				return errors.New("the second fails")
			}
			return nil
		})
		t.Fatal("not reached")
	})
	if said != "the second fails" {
		t.Errorf("said %q", said)
	}
	if said := suite.Said(t, func(t testing.TB) { suite.Parallel(t, 3, func(int) error { return nil }) }); said != "" {
		t.Errorf("a check that passes said %q", said)
	}
}
