//go:build !linux

package torture

import "os/exec"

// alive starts cmd, says so, and waits for its end.
func alive(cmd *exec.Cmd, started chan<- error) error {
	err := cmd.Start()
	started <- err
	if err != nil {
		return err
	}
	return cmd.Wait()
}
