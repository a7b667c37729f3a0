// Package parent ties a process to the one that started it.
package parent

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// DieTogether ends this process when the one named by CONTROL_PLANE_DIE_WITH_PARENT ends, in whatever way. It must be called on the
// main thread, before anything else.
func DieTogether() {
	expected, err := strconv.Atoi(os.Getenv("CONTROL_PLANE_DIE_WITH_PARENT"))
	if err != nil {
		return
	}
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		panic(err)
	}
	if os.Getppid() != expected {
		os.Exit(1)
	}
}
