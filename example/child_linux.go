package main

import (
	"os/exec"
	"syscall"
)

// tie makes the life of a child process ours: Ctrl-C is this program's to
// handle, and if it is killed the child ends with it.
func tie(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
