package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.org/kvm-hotplug/bindings/go/kvmhotplug"
)

// Longer than anything takes that is going to happen.
const patience = 60 * time.Second

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// notRun ends a test that this machine cannot run, without a kernel module or other hardware, and lists it with the reason
// for the end of tests/run. What tests/bin/setup installs has to be there: a test that misses it fails.
func notRun(t testing.TB, reason string) {
	t.Helper()
	list, err := os.OpenFile(setting("KVM_HOTPLUG_NOT_RUN", "../../../build/not-run"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	ok(t, err)
	_, err = fmt.Fprintf(list, "%s: %s\n", t.Name(), reason)
	ok(t, err)
	ok(t, list.Close())
	t.Skip(reason)
}

func TestWhatCannotRunIsListed(t *testing.T) {
	list := filepath.Join(t.TempDir(), "not-run")
	t.Setenv("KVM_HOTPLUG_NOT_RUN", list)
	t.Run("here", func(t *testing.T) { notRun(t, "no /dev/vhost-net") })
	text, err := os.ReadFile(list)
	ok(t, err)
	if want := t.Name() + "/here: no /dev/vhost-net\n"; string(text) != want {
		t.Errorf("listed %q, want %q", text, want)
	}
}

func waitUntil(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it does not come about that %s", what)
		}
	}
}

func setting(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

// start runs a program that ends with the test, and shows what it said if that fails.
func start(t testing.TB, command *exec.Cmd) *os.Process {
	t.Helper()
	said, err := os.Create(filepath.Join(t.TempDir(), "output"))
	ok(t, err)
	command.Stdout, command.Stderr = said, said
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	ok(t, command.Start())
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
		if text, _ := os.ReadFile(said.Name()); t.Failed() {
			t.Logf("%s said:\n%s", filepath.Base(command.Path), text)
		}
		said.Close()
	})
	return command.Process
}

// startQEMU runs one with its monitor at this path; with a guest, it returns when that has booted.
func startQEMU(t testing.TB, monitor string, guest bool) *os.Process {
	t.Helper()
	shell, second := filepath.Join(t.TempDir(), "shell"), monitor+"2"
	arguments := []string{
		"-nodefaults", "-display", "none", "-machine", "pc", "-accel", setting("KVM_HOTPLUG_TEST_ACCEL", "tcg"), "-m", "256",
		"-qmp", "unix:" + monitor + ",server=on,wait=off",
		"-qmp", "unix:" + second + ",server=on,wait=off",
	}
	if guest {
		folder := setting("KVM_HOTPLUG_TEST_GUEST", "../../../build/guest")
		if _, err := os.Stat(filepath.Join(folder, "kernel")); err != nil {
			t.Fatalf("no guest to boot: %v; run tests/guest/build, or set KVM_HOTPLUG_TEST_GUEST", err)
		}
		arguments = append(arguments, "-kernel", filepath.Join(folder, "kernel"), "-initrd", filepath.Join(folder, "initramfs"),
			"-append", "quiet panic=-1 no_timer_check cryptomgr.notests", "-serial", "null", "-serial", "file:"+shell)
	}
	process := start(t, exec.Command(setting("KVM_HOTPLUG_TEST_QEMU", "qemu-system-x86_64"), arguments...))
	// QEMU listens on the second one when it does so on the first, whose only client is to be the agent.
	waitUntil(t, "QEMU is there", func() bool {
		conn, err := net.Dial("unix", second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	if guest {
		waitUntil(t, "the guest has booted", func() bool {
			text, _ := os.ReadFile(shell)
			return bytes.Contains(text, []byte("=== ready ==="))
		})
	}
	return process
}

// agent is a running one, a client of it, and the file with what it logs.
type agent struct {
	dir     string
	process *os.Process
	client  *http.Client
	log     string
}

func directory(t testing.TB) string {
	t.Helper()
	// The path of a socket has 107 characters at most.
	dir, err := os.MkdirTemp("", "kva-")
	ok(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// program is the agent, built once for all tests, with the race detector if they have it.
var program string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "kva-")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		program = filepath.Join(dir, "kvm-agent")
		arguments := []string{"build", "-o", program}
		if raceDetector {
			arguments = append(arguments, "-race")
		}
		if output, err := exec.Command("go", append(arguments, ".")...).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, output)
			return 1
		}
		return m.Run()
	}())
}

func startAgent(t testing.TB, dir string, environment ...string) *agent {
	t.Helper()
	return startAgentWith(t, dir, nil, environment...)
}

// startAgentWith takes flags, too.
func startAgentWith(t testing.TB, dir string, flags []string, environment ...string) *agent {
	t.Helper()
	command := exec.Command(program, append([]string{"-dir", dir, "-level", "debug"}, flags...)...)
	command.Env = append(os.Environ(), environment...)
	made := &agent{dir: dir, process: start(t, command)}
	made.log = command.Stdout.(*os.File).Name()
	socket := filepath.Join(dir, "agent.sock")
	made.client = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	waitUntil(t, "the agent answers", func() bool {
		response, err := made.client.Get("http://agent/version")
		if err == nil {
			response.Body.Close()
		}
		return err == nil
	})
	return made
}

// end asks the agent to end and checks that it does, cleanly.
func (a *agent) end(t testing.TB) {
	t.Helper()
	ok(t, a.process.Signal(syscall.SIGTERM))
	state, err := a.process.Wait()
	ok(t, err)
	if !state.Success() {
		t.Errorf("the agent ended with %v", state)
	}
	if _, err := os.Stat(filepath.Join(a.dir, "agent.sock")); !os.IsNotExist(err) {
		t.Errorf("the agent's socket: %v", err)
	}
}

// awaitRemoval waits until QEMU has been asked to take the device out, and the guest has not let it go.
func (a *agent) awaitRemoval(t testing.TB, guest, id string) {
	t.Helper()
	waitUntil(t, id+" is to be removed", func() bool {
		device := want[kvmhotplug.Device](t, a, http.StatusOK, "GET", "/guests/"+guest+"/devices/"+id, "")
		return device.State == kvmhotplug.DevicePending
	})
}

type reply struct {
	status int
	header http.Header
	text   string
}

func (a *agent) do(t testing.TB, method, path, body string) reply {
	t.Helper()
	return a.doWith(t, method, path, body, nil)
}

// doWith sends a header, too.
func (a *agent) doWith(t testing.TB, method, path, body string, header http.Header) reply {
	t.Helper()
	request, err := http.NewRequest(method, "http://agent"+path, strings.NewReader(body))
	ok(t, err)
	for name, values := range header {
		request.Header[name] = values
	}
	response, err := a.client.Do(request)
	ok(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	ok(t, err)
	return reply{response.StatusCode, response.Header, string(text)}
}

// want does a request that answers with this status, and reads what it answers.
func want[T any](t testing.TB, a *agent, status int, method, path, body string) T {
	t.Helper()
	got := a.do(t, method, path, body)
	if got.status != status {
		t.Fatalf("%s %s %s: %d, want %d: %s", method, path, body, got.status, status, got.text)
	}
	var answer T
	if err := json.Unmarshal([]byte(got.text), &answer); err != nil {
		t.Fatalf("%s %s: %v: %s", method, path, err, got.text)
	}
	return answer
}

// failure is an answer that is an error.
type failure struct {
	Error kvmhotplug.Error `json:"error"`
}

func newRecord(t testing.TB, dir, name string) string {
	t.Helper()
	record, err := kvmhotplug.New(kvmhotplug.Config{Name: name, Command: []string{"qemu-system-x86_64"}})
	ok(t, err)
	defer record.Close()
	path := filepath.Join(dir, name+recordSuffix)
	ok(t, record.Save(path))
	return path
}

func newImage(t testing.TB, dir, name string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	ok(t, os.WriteFile(path, nil, 0o600))
	ok(t, os.Truncate(path, 1<<20))
	return path
}

// newBridge is one for this test alone.
func newBridge(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("kva%d", os.Getpid())
	if output, err := exec.Command("ip", "link", "add", name, "type", "bridge").CombinedOutput(); err != nil {
		t.Fatalf("ip link add: %v: %s", err, output)
	}
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", name).Run() })
	return name
}
