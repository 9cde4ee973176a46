package main

import (
	"time"

	"golang.org/x/sys/unix"
)

// bootTime is the clock for everything that ends a lease: it goes on while the machine sleeps, nobody sets
// it, and all processes of a machine have the same. Go's own monotonic clock stands still while the machine
// sleeps.
func bootTime() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		panic("CLOCK_BOOTTIME, which Linux has since 2.6.39: " + err.Error())
	}
	return time.Duration(now.Nano())
}
