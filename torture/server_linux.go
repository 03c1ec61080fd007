package torture

import (
	"os/exec"
	"runtime"
	"syscall"
)

// alive starts cmd, says so, and waits for its end. Should this process die
// first, cmd dies as well: with the thread that started it, which has to live
// as long.
func alive(cmd *exec.Cmd, started chan<- error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err := cmd.Start()
	started <- err
	if err != nil {
		return err
	}
	return cmd.Wait()
}
