// Package kvmfake starts kvm-fake-qemu, the monitor without a QEMU behind it that comes with the library, for tests of agents:
//
//	fake := kvmfake.Start(t)
//	guest, err := kvmhotplug.Open(ctx, record, fake.Socket)
//	fake.Order("error device_del not now") // the next such command is refused, in these words
//
// It needs no QEMU, no root and no image that a guest could boot.
package kvmfake

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Program names the program in the environment; without it, kvm-fake-qemu is looked for in PATH.
const Program = "KVM_FAKE_QEMU"

// How long the program may take to be ready, and to answer an order.
const patience = 30 * time.Second

// QEMU is one that runs. It ends with its test.
type QEMU struct {
	// Socket is its monitor.
	Socket string

	t       testing.TB
	orders  *os.File
	answers chan string
	mutex   sync.Mutex
	said    []string
}

// Start starts one with these options, such as "--version", "5.2.0" or "--ports", "4"; kvm-fake-qemu --help lists them. A test on
// a machine without the program fails.
func Start(t testing.TB, options ...string) *QEMU {
	t.Helper()
	program := os.Getenv(Program)
	if program == "" {
		program = "kvm-fake-qemu"
	}
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatalf("%s is not here: it comes with the library, in the directory of programs of its prefix: %v", program, err)
	}
	// The path of a socket has 107 bytes at most; that of t.TempDir() has the test's name in it.
	directory, err := os.MkdirTemp("", "kvmfake")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(directory) })
	q := &QEMU{Socket: filepath.Join(directory, "qmp"), t: t, answers: make(chan string, 1)}
	command := exec.Command(path, append(options, q.Socket)...)
	orders, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	lines, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	command.Stderr = os.Stderr
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	q.orders = orders.(*os.File)
	read := make(chan struct{})
	go func() {
		defer close(read)
		q.read(bufio.NewScanner(lines))
	}()
	t.Cleanup(func() {
		// It ends with the end of its orders.
		orders.Close()
		<-read
		if err := command.Wait(); err != nil {
			t.Errorf("%s: %v", program, err)
		}
	})
	q.wait("to be ready", "ready")
	return q
}

func (q *QEMU) read(lines *bufio.Scanner) {
	defer close(q.answers)
	for lines.Scan() {
		switch line := lines.Text(); line {
		case "ready", "ok", "what?":
			q.answers <- line
		default:
			q.mutex.Lock()
			q.said = append(q.said, line)
			q.mutex.Unlock()
		}
	}
}

func (q *QEMU) wait(what, answer string) {
	q.t.Helper()
	select {
	case got, open := <-q.answers:
		if !open {
			q.t.Fatalf("kvm-fake-qemu ended where it had %s", what)
		}
		if got != answer {
			q.t.Fatalf("kvm-fake-qemu had %s, and said %q", what, got)
		}
	case <-time.After(patience):
		q.t.Fatalf("kvm-fake-qemu did not come %s in %v", what, patience)
	}
}

// Order says what goes wrong, or what the guest does: "hold disk-pci-6", "hang-up device_add", "event SHUTDOWN {}";
// kvm-fake-qemu --help lists them. It counts when Order returns.
func (q *QEMU) Order(order string) {
	q.t.Helper()
	if _, err := fmt.Fprintln(q.orders, order); err != nil {
		q.t.Fatal(err)
	}
	q.wait("to take the order "+order, "ok")
}

// Said is what has happened, a line each: "done device_add nic-pci-4", "refused device_del disk", "client come".
func (q *QEMU) Said() []string {
	q.mutex.Lock()
	defer q.mutex.Unlock()
	return append([]string(nil), q.said...)
}

// Did says whether a command has been done: "device_add nic-pci-4". What the program says of it may come a moment after the answer to
// its client, so one that has not been done is waited for, for a second.
func (q *QEMU) Did(command string) bool {
	for end := time.Now().Add(time.Second); ; time.Sleep(time.Millisecond) {
		for _, line := range q.Said() {
			if done, found := strings.CutPrefix(line, "done "); found && done == command {
				return true
			}
		}
		if time.Now().After(end) {
			return false
		}
	}
}
