package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A guard is the parent of a QEMU. It lets it run until the time that stands in the guest's file, and ends it
// when that time has come or the file is gone. The agent moves the time whenever it has renewed its lease, so
// a guest that nobody answers for ends, also if the agent is dead. If the guard is killed, the kernel kills
// QEMU.
//
// Guard and QEMU hold a lock while they live: that nobody has it means that both are gone.

const guardLook = 100 * time.Millisecond

func untilFile(dir, name string) string { return filepath.Join(dir, name+".until") }
func lockFile(dir, name string) string  { return filepath.Join(dir, name+".guard") }

// readUntil is the time in the file; 0 if there is none.
func readUntil(path string) time.Duration {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	number, err := strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 64)
	if err != nil {
		return 0
	}
	return time.Duration(number)
}

// writeUntil replaces the file, so that a guard never reads half of it.
func writeUntil(path string, until time.Duration) error {
	made := path + ".new"
	if err := os.WriteFile(made, []byte(strconv.FormatInt(int64(until), 10)+"\n"), 0o600); err != nil {
		return err
	}
	return os.Rename(made, path)
}

// whole is a lock on all of a file. It belongs to the open file, which QEMU inherits.
func whole() unix.Flock_t { return unix.Flock_t{Type: unix.F_WRLCK, Whence: unix.SEEK_SET} }

// takeLock takes it, or fails at once with EAGAIN if somebody has it.
func takeLock(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	wanted := whole()
	if err := unix.FcntlFlock(file.Fd(), unix.F_OFD_SETLK, &wanted); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// isGuarded tells whether a guard or its QEMU lives.
func isGuarded(dir, name string) (bool, error) {
	file, err := os.OpenFile(lockFile(dir, name), os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer file.Close()
	lock := whole()
	if err := unix.FcntlFlock(file.Fd(), unix.F_OFD_GETLK, &lock); err != nil {
		return false, err
	}
	return lock.Type != unix.F_UNLCK, nil
}

// guardCommand starts a command under a guard, with these files as its descriptors from 3 on.
func guardCommand(dir, name string, arguments []string, files []*os.File) *exec.Cmd {
	own := []string{"guard", "-dir", dir, "-guest", name, "-files", strconv.Itoa(len(files)), "--"}
	command := exec.Command("/proc/self/exe", append(own, arguments...)...)
	command.ExtraFiles = files
	// It outlives the agent, and a Ctrl-C for that.
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return command
}

func guardMain(arguments []string) error {
	flags := flag.NewFlagSet("guard", flag.ExitOnError)
	dir := flags.String("dir", defaultDir, "the agent's directory")
	name := flags.String("guest", "", "name of the guest")
	count := flags.Int("files", 0, "how many descriptors from 3 on are QEMU's")
	_ = flags.Parse(arguments)
	if err := checkName("the guest", *name); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return errors.New("guard: no command")
	}
	lock, err := takeLock(lockFile(*dir, *name))
	if err != nil {
		return fmt.Errorf("%s runs on this node already: %w", *name, err)
	}
	command := exec.Command(flags.Arg(0), flags.Args()[1:]...)
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	for number := range *count {
		command.ExtraFiles = append(command.ExtraFiles, os.NewFile(uintptr(3+number), "inherited"))
	}
	command.ExtraFiles = append(command.ExtraFiles, lock)
	return guard(command, untilFile(*dir, *name))
}

// guard runs the command as long as the file lets it.
func guard(command *exec.Cmd, path string) error {
	// The kernel kills QEMU when the thread that started it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if readUntil(path) <= bootTime() {
		return errors.New("guard: the time of the guest is over")
	}
	if err := command.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	for {
		select {
		case err := <-ended:
			return err
		case <-time.After(guardLook):
		}
		if readUntil(path) <= bootTime() {
			fmt.Fprintln(os.Stderr, "guard: the time of the guest is over")
			_ = command.Process.Kill()
			return <-ended
		}
	}
}
