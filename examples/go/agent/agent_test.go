package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.org/kvm-hotplug/bindings/go/kvmhotplug"
)

// A QEMU with nothing in it: it never lets go of a device by itself.
func TestAnswersAndTheirStatus(t *testing.T) {
	dir := directory(t)
	newRecord(t, dir, "web1")
	path := newImage(t, dir, "data.img")
	startQEMU(t, filepath.Join(dir, "web1.qmp"), false)
	agent := startAgent(t, dir)
	const guest = "/guests/web1"

	added := want[kvmhotplug.Result](t, agent, http.StatusCreated, "POST", guest+"/disks", `{"id":"data","path":"`+path+`"}`)
	if added.State != kvmhotplug.Done || added.Device.ID != "data" || added.Device.Path != path {
		t.Errorf("added %+v", added)
	}
	want[kvmhotplug.Result](t, agent, http.StatusCreated, "POST", guest+"/disks", `{"id":"data","path":"`+path+`"}`)
	want[kvmhotplug.Device](t, agent, http.StatusOK, "GET", guest+"/devices/data", "")
	want[kvmhotplug.Result](t, agent, http.StatusNotFound, "GET", guest+"/devices/other", "")
	want[kvmhotplug.Result](t, agent, http.StatusOK, "DELETE", guest+"/nics/other", "")
	if devices := want[[]kvmhotplug.Device](t, agent, http.StatusOK, "GET", guest+"/record", ""); len(devices) != 1 {
		t.Errorf("recorded %+v", devices)
	}
	if left := want[[]kvmhotplug.Difference](t, agent, http.StatusOK, "POST", guest+"/repair", ""); len(left) != 0 {
		t.Errorf("left %+v", left)
	}

	for _, refused := range []struct {
		status             int
		method, path, body string
		kind               kvmhotplug.Kind
		part               string
	}{
		{400, "POST", "/disks", `{"path":`, kvmhotplug.ErrInvalid, "the body"},
		{400, "POST", "/disks", `{"path":"/a"} {}`, kvmhotplug.ErrInvalid, "something follows"},
		{400, "POST", "/disks", `{"path":"/a","colour":"red"}`, kvmhotplug.ErrInvalid, "colour"},
		{400, "POST", "/disks", `{"path":"/a","cache":"some"}`, kvmhotplug.ErrInvalid, "one of"},
		{413, "POST", "/disks", strings.Repeat(" ", bodyLimit+1), kvmhotplug.ErrInvalid, "larger than"},
		{400, "POST", "/nics", `{"mac":"52"}`, kvmhotplug.ErrInvalid, "52"},
		{400, "POST", "/nics?timeout=soon", `{}`, kvmhotplug.ErrInvalid, "soon"},
		{400, "DELETE", "/nics/data", ``, kvmhotplug.ErrInvalid, "data is a disk"},
		{400, "DELETE", "/disks/data?no_wait", ``, kvmhotplug.ErrInvalid, "no_wait"},
		{400, "GET", "/events?since=now", ``, kvmhotplug.ErrInvalid, "now"},
		{400, "PUT", "/nics/lan/link", `{}`, kvmhotplug.ErrInvalid, "up"},
		{400, "PUT", "/nics/lan/bridge", `{}`, kvmhotplug.ErrInvalid, "bridge"},
		{400, "PUT", "/disks/data/size", `{"bytes":513}`, kvmhotplug.ErrInvalid, "512"},
		{403, "POST", "/qmp", `{"execute":"device_del","arguments":{"id":"data"}}`, kvmhotplug.ErrState, "device_del"},
		{404, "GET", "/details/other", ``, kvmhotplug.ErrNotFound, "other"},
		{404, "PUT", "/nics/lan/link", `{"up":true}`, kvmhotplug.ErrNotFound, "lan"},
		{502, "POST", "/qmp", `{"execute":"no-such-command"}`, kvmhotplug.ErrQMP, "no-such-command"},
		{404, "POST", "/disks", `{"path":"/absent"}`, kvmhotplug.ErrNotFound, "/absent"},
		{404, "POST", "/nics", `{"bus":"pci.9"}`, kvmhotplug.ErrNotFound, "pci.9"},
		{409, "POST", "/disks", `{"id":"data","path":"` + path + `","serial":"S"}`, kvmhotplug.ErrConflict, "another serial"},
		{409, "POST", "/nics", `{"bus":"pci.0","slot":` + fmt.Sprint(added.Device.Slot) + `}`, kvmhotplug.ErrAddressTaken, "data"},
		{422, "POST", "/nics", `{"model":"ne2k_pci","live_only":true}`, kvmhotplug.ErrNotHotpluggable, "ne2k_pci"},
	} {
		got := want[failure](t, agent, refused.status, refused.method, guest+refused.path, refused.body)
		if got.Error.Kind != refused.kind || !strings.Contains(got.Error.Message, refused.part) || got.Error.Errno == 0 {
			t.Errorf("%s %s %s: %+v", refused.method, refused.path, refused.body, got.Error)
		}
	}
	nobody := want[failure](t, agent, http.StatusNotFound, "GET", "/guests/nobody/devices", "")
	if !strings.Contains(nobody.Error.Message, "PUT /guests/nobody") {
		t.Errorf("a guest that is not there: %+v", nobody.Error)
	}
	want[failure](t, agent, http.StatusNotFound, "GET", "/guests/nobody/events", "")
	want[failure](t, agent, http.StatusConflict, "PUT", "/guests/web1", "{}")
	want[failure](t, agent, http.StatusBadRequest, "PUT", "/guests/.hidden", "{}")
	if got := agent.do(t, "PATCH", guest, ""); got.status != http.StatusMethodNotAllowed {
		t.Errorf("PATCH: %d", got.status)
	}

	bridge := newBridge(t)
	want[kvmhotplug.Result](t, agent, http.StatusCreated, "POST", guest+"/nics", `{"id":"lan","vhost":"off","link_down":true}`)
	if up := want[kvmhotplug.Result](t, agent, http.StatusOK, "PUT", guest+"/nics/lan/link", `{"up":true}`); up.Device.LinkDown {
		t.Errorf("the link: %+v", up.Device)
	}
	if moved := want[kvmhotplug.Result](t, agent, http.StatusOK, "PUT", guest+"/nics/lan/bridge", `{"bridge":"`+bridge+`"}`); moved.Device.Bridge != bridge {
		t.Errorf("the bridge: %+v", moved.Device)
	}
	if size := want[map[string]int](t, agent, http.StatusOK, "PUT", guest+"/disks/data/size", `{"bytes":2097152}`); size["bytes"] != 2<<20 {
		t.Errorf("the size: %v", size)
	}
	if details := want[map[string]any](t, agent, http.StatusOK, "GET", guest+"/details/data", ""); details["size"] != float64(2<<20) {
		t.Errorf("the details: %v", details)
	}
	want[kvmhotplug.Result](t, agent, http.StatusCreated, "POST", guest+"/controllers", `{"id":"scsi"}`)
	want[kvmhotplug.Plan](t, agent, http.StatusOK, "POST", guest+"/controllers?plan", `{}`)
	want[failure](t, agent, http.StatusBadRequest, "DELETE", guest+"/controllers/lan", "")
	want[kvmhotplug.Result](t, agent, http.StatusAccepted, "DELETE", guest+"/controllers/scsi?timeout=300ms", "")
	if details := want[[]any](t, agent, http.StatusOK, "GET", guest+"/details", ""); len(details) != 3 {
		t.Errorf("the details: %v", details)
	}
	if boot := want[kvmhotplug.BootPlan](t, agent, http.StatusOK, "GET", guest+"/boot?spare_ports=2", ""); boot.Devices != 2 {
		t.Errorf("the next boot: %+v", boot)
	}
	reply := want[struct{ Return struct{ Running bool } }](t, agent, http.StatusOK, "POST", guest+"/qmp", `{"execute":"query-status"}`)
	if !reply.Return.Running {
		t.Errorf("query-status: %+v", reply)
	}

	late := want[kvmhotplug.Result](t, agent, http.StatusAccepted, "POST", guest+"/nics", `{"id":"old","model":"ne2k_pci"}`)
	if late.State != kvmhotplug.AfterReboot || late.Reason != kvmhotplug.ReasonModel {
		t.Errorf("an ne2k_pci: %+v", late)
	}
	if listed := want[kvmhotplug.Device](t, agent, http.StatusOK, "GET", guest+"/devices/old", ""); listed.Reason != kvmhotplug.ReasonModel || listed.ReasonText != late.ReasonText {
		t.Errorf("listed as %+v", listed)
	}
	plan := want[kvmhotplug.Plan](t, agent, http.StatusOK, "DELETE", guest+"/devices/data?plan", "")
	if len(plan.Commands) == 0 {
		t.Errorf("planned %+v", plan)
	}
	pending := want[kvmhotplug.Result](t, agent, http.StatusAccepted, "DELETE", guest+"/disks/data?timeout=300ms", "")
	if pending.State != kvmhotplug.Pending || pending.ReasonText == "" {
		t.Errorf("pending: %+v", pending)
	}
	agent.end(t)
}

func TestQEMUThatHangs(t *testing.T) {
	dir := directory(t)
	newRecord(t, dir, "web1")
	path := newImage(t, dir, "data.img")
	qemu := startQEMU(t, filepath.Join(dir, "web1.qmp"), false)
	agent := startAgent(t, dir)
	ok(t, qemu.Signal(syscall.SIGSTOP))
	got := want[failure](t, agent, http.StatusGatewayTimeout, "POST", "/guests/web1/disks?timeout=300ms", `{"id":"data","path":"`+path+`"}`)
	if got.Error.Undo != kvmhotplug.UndoIncomplete || len(got.Error.Residue) == 0 {
		t.Errorf("nothing says what is left: %+v", got.Error)
	}
	ok(t, qemu.Signal(syscall.SIGCONT))
	// The next call settles it.
	want[[]kvmhotplug.Slot](t, agent, http.StatusOK, "GET", "/guests/web1/slots", "")
	agent.end(t)
}

// A client that hangs up has its call cancelled, not the next one's.
func TestClientThatHangsUp(t *testing.T) {
	dir := directory(t)
	newRecord(t, dir, "web1")
	path := newImage(t, dir, "data.img")
	startQEMU(t, filepath.Join(dir, "web1.qmp"), false)
	agent := startAgent(t, dir)
	want[kvmhotplug.Result](t, agent, http.StatusCreated, "POST", "/guests/web1/disks", `{"id":"data","path":"`+path+`"}`)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer cancel()
		agent.awaitRemoval(t, "web1", "data")
	}()
	request, err := http.NewRequestWithContext(ctx, "DELETE", "http://agent/guests/web1/disks/data?timeout=1h", nil)
	ok(t, err)
	if _, err := agent.client.Do(request); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	// The call ends long before the hour is over.
	waitUntil(t, "the removal's call has ended", func() bool {
		log, err := os.ReadFile(agent.log)
		ok(t, err)
		return bytes.Contains(log, []byte("msg=answers method=DELETE"))
	})
	device := want[kvmhotplug.Device](t, agent, http.StatusOK, "GET", "/guests/web1/devices/data", "")
	if device.State != kvmhotplug.DevicePending {
		t.Errorf("the removal is %v", device.State)
	}
	agent.end(t)
}

func state(t *testing.T, agent *agent, guest string) status {
	t.Helper()
	return want[status](t, agent, http.StatusOK, "GET", "/guests/"+guest, "")
}

// All guests are taken in at the start, with what a dead agent left; those without QEMU are shown as such, and are there
// when their QEMU is.
func TestRecovery(t *testing.T) {
	dir := directory(t)
	path := newImage(t, dir, "data.img")
	for _, name := range []string{"web1", "db1", "torn"} {
		newRecord(t, dir, name)
	}
	ok(t, os.WriteFile(filepath.Join(dir, "torn.runtime"), []byte("{"), 0o600))
	monitor := filepath.Join(dir, "web1.qmp")
	qemu := startQEMU(t, monitor, false)

	// An agent that is killed while it waits for a removal.
	first := startAgent(t, dir)
	want[kvmhotplug.Result](t, first, http.StatusCreated, "POST", "/guests/web1/disks", `{"id":"data","path":"`+path+`"}`)
	want[kvmhotplug.Result](t, first, http.StatusAccepted, "DELETE", "/guests/web1/devices/data?no_wait", "")
	ok(t, first.process.Kill())
	_, _ = first.process.Wait()

	// Its socket is there and nobody listens.
	agent := startAgent(t, dir)
	guests := want[[]status](t, agent, http.StatusOK, "GET", "/guests", "")
	var short []string
	for _, guest := range guests {
		short = append(short, guest.Guest+" "+guest.State)
	}
	if got := strings.Join(short, ", "); got != "db1 gone, torn unusable, web1 open" {
		t.Errorf("the guests: %s", got)
	}
	if failed := state(t, agent, "torn").Error; failed == nil || failed.Kind != kvmhotplug.ErrFormat {
		t.Errorf("torn: %+v", failed)
	}
	if device := want[kvmhotplug.Device](t, agent, http.StatusOK, "GET", "/guests/web1/devices/data", ""); device.State != kvmhotplug.DevicePending {
		t.Errorf("the removal is %v", device.State)
	}
	unfinished := want[item](t, agent, http.StatusOK, "GET", "/guests/web1/events?since=1&limit=1", "")
	if unfinished.Type != "pending" || unfinished.Event.ID != "data" {
		t.Errorf("told of %+v", unfinished)
	}
	closed := agent.do(t, "GET", "/guests/db1/devices", "")
	if closed.status != http.StatusServiceUnavailable || closed.header.Get("Retry-After") == "" {
		t.Errorf("db1: %d %s", closed.status, closed.text)
	}

	// Gone, and back.
	ok(t, qemu.Kill())
	waitUntil(t, "web1 is gone", func() bool { return state(t, agent, "web1").State == "gone" })
	if devices := want[[]kvmhotplug.Device](t, agent, http.StatusOK, "GET", "/guests/web1/record", ""); len(devices) != 1 {
		t.Errorf("recorded %+v", devices)
	}
	_, _ = os.Remove(monitor), os.Remove(monitor+"2")
	startQEMU(t, monitor, false)
	waitUntil(t, "web1 is back", func() bool { return state(t, agent, "web1").State == "open" })

	// A guest that comes and one that goes, by their files.
	newRecord(t, dir, "new1")
	ok(t, os.Remove(filepath.Join(dir, "torn.runtime")))
	waitUntil(t, "the files are seen", func() bool {
		return agent.do(t, "GET", "/guests/torn", "").status == http.StatusNotFound && agent.do(t, "GET", "/guests/new1", "").status == http.StatusOK
	})
	agent.end(t)

	// Nothing is held any more.
	record, err := kvmhotplug.Load(filepath.Join(dir, "web1.runtime"))
	ok(t, err)
	ok(t, record.Close())
}

func TestOneAgentForADirectory(t *testing.T) {
	dir := directory(t)
	agent := startAgent(t, dir)
	_, err := listen(filepath.Join(dir, "agent.sock"), 2)
	if err == nil || !strings.Contains(err.Error(), "another agent") {
		t.Errorf("got %v", err)
	}
	info, err := os.Stat(filepath.Join(dir, "agent.sock"))
	ok(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the socket's mode is %v", info.Mode())
	}
	agent.end(t)
}

// At the end, calls that are running are answered and streams are closed.
func TestCleanEnd(t *testing.T) {
	dir := directory(t)
	newRecord(t, dir, "web1")
	path := newImage(t, dir, "data.img")
	startQEMU(t, filepath.Join(dir, "web1.qmp"), false)
	agent := startAgent(t, dir)
	want[kvmhotplug.Result](t, agent, http.StatusCreated, "POST", "/guests/web1/disks", `{"id":"data","path":"`+path+`"}`)
	// The second call joins the removal.
	running, streaming := make(chan reply, 2), make(chan reply, 1)
	for range cap(running) {
		go func() { running <- agent.do(t, "DELETE", "/guests/web1/disks/data?timeout=5s", "") }()
	}
	go func() { streaming <- agent.do(t, "GET", "/events", "") }()
	agent.awaitRemoval(t, "web1", "data")
	time.Sleep(200 * time.Millisecond)
	agent.end(t)
	for range cap(running) {
		if got := <-running; got.status != http.StatusAccepted || !strings.Contains(got.text, "pending") {
			t.Errorf("the running call: %d %s", got.status, got.text)
		}
	}
	if got := <-streaming; got.status != http.StatusOK {
		t.Errorf("the stream: %d %s", got.status, got.text)
	}
}

func TestSystemdIsTold(t *testing.T) {
	dir := directory(t)
	socket := filepath.Join(dir, "notify")
	listener, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	ok(t, err)
	defer listener.Close()
	agent := startAgent(t, dir, "NOTIFY_SOCKET="+socket)
	agent.end(t)
	var told []string
	for range 2 {
		buffer := make([]byte, 64)
		count, err := listener.Read(buffer)
		ok(t, err)
		told = append(told, string(buffer[:count]))
	}
	if got := strings.Join(told, " "); got != "READY=1 STOPPING=1" {
		t.Errorf("systemd was told %s", got)
	}
}

func TestJournalLines(t *testing.T) {
	t.Setenv("JOURNAL_STREAM", "8:1")
	var text bytes.Buffer
	logger := newLogger(&text, slog.LevelInfo).With("guest", "web1")
	logger.Error("one")
	logger.Warn("two", "left", "disk")
	logger.Info("three")
	logger.Debug("four")
	if want := "<3>msg=one guest=web1\n<4>msg=two guest=web1 left=disk\n<6>msg=three guest=web1\n"; text.String() != want {
		t.Errorf("logged %q, want %q", text.String(), want)
	}
}

func TestFeed(t *testing.T) {
	feed := newFeed()
	for number := range feedLength + 10 {
		feed.add("web1", "removed", kvmhotplug.Event{ID: fmt.Sprint(number)})
	}
	items, _, _ := feed.after(3)
	if len(items) != feedLength+1 || items[0].Type != "missed" || items[0].Lost != 7 || items[1].ID != 11 {
		t.Errorf("%d items, the first are %+v", len(items), items[:2])
	}
	items, more, over := feed.after(feedLength + 10)
	if len(items) != 0 || over {
		t.Errorf("%+v, over %v", items, over)
	}
	// A number that an earlier agent gave.
	if items, _, _ := feed.after(9999999); len(items) != feedLength+1 {
		t.Errorf("%d items", len(items))
	}
	feed.close()
	<-more
	if _, _, over := feed.after(0); !over {
		t.Error("it goes on after its end")
	}
}

func TestServerSentEvents(t *testing.T) {
	dir := directory(t)
	newRecord(t, dir, "web1")
	startQEMU(t, filepath.Join(dir, "web1.qmp"), false)
	agent := startAgent(t, dir)
	request, err := http.NewRequest("GET", "http://agent/events?limit=1", nil)
	ok(t, err)
	request.Header.Set("Accept", "text/event-stream")
	request.Header.Set("Last-Event-ID", "0")
	response, err := agent.client.Do(request)
	ok(t, err)
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	var got []string
	for lines.Scan() {
		got = append(got, lines.Text())
	}
	if response.Header.Get("Content-Type") != "text/event-stream" || len(got) != 3 || got[0] != "id: 1" || got[2] != "" {
		t.Fatalf("%v: %q", response.Header, got)
	}
	var event item
	ok(t, json.Unmarshal([]byte(strings.TrimPrefix(got[1], "data: ")), &event))
	if event.Type != "opened" || event.Guest != "web1" {
		t.Errorf("got %+v", event)
	}
	// A stream ends with its deadline.
	if got := agent.do(t, "GET", "/events?timeout=200ms", ""); got.status != http.StatusOK || got.text != "" {
		t.Errorf("%d %q", got.status, got.text)
	}
	agent.end(t)
}

func TestEveryKindHasAStatus(t *testing.T) {
	known := 0
	for kind := range kvmhotplug.Kind(200) {
		if strings.HasPrefix(kind.String(), "unknown-") {
			continue
		}
		known++
		status := statusOf(&kvmhotplug.Error{Kind: kind})
		_, listed := statusOfKind[kind]
		ours := kind == kvmhotplug.ErrHost || kind == kvmhotplug.ErrVersion || kind == kvmhotplug.ErrPanic
		if listed == ours || status < 400 {
			t.Errorf("%v: %d", kind, status)
		}
	}
	if known < 25 {
		t.Errorf("only %d kinds", known)
	}
	if statusOf(errors.New("something")) != http.StatusInternalServerError {
		t.Error("an error of nobody's")
	}
}
