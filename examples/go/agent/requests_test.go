package main

import (
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

// refusedRequest is one that has to be refused before anything is done for it.
type refusedRequest struct {
	status             int
	method, path, body string
	part               string
}

// What the agent does not know it refuses, rather than do something else than was meant.
func TestWhatIsNotUnderstoodIsRefused(t *testing.T) {
	dir := directory(t)
	newRecord(t, dir, "web1")
	newRecord(t, dir, "db1")
	path := newImage(t, dir, "data.img")
	startQEMU(t, filepath.Join(dir, "web1.qmp"), false)
	agent := startAgent(t, dir)
	const web, db = "/guests/web1", "/guests/db1"
	disk := `{"id":"data","path":"` + path + `"}`

	for _, one := range []refusedRequest{
		// The query.
		{400, "POST", web + "/nics?plam", `{"id":"lan"}`, "plam"},
		{400, "POST", web + "/nics?Plan", `{"id":"lan"}`, "only plan, timeout"},
		{400, "POST", web + "/nics?plan=yes", `{"id":"lan"}`, "yes"},
		{400, "POST", web + "/nics?plan=0&plan=1", `{"id":"lan"}`, "2 times"},
		{400, "POST", web + "/nics?plan;x", `{"id":"lan"}`, "query"},
		{400, "POST", web + "/nics?pl%61n%", `{"id":"lan"}`, "query"},
		{400, "POST", web + "/nics?body", `{"id":"lan"}`, "body"},
		{400, "POST", web + "/nics?timeout=", `{"id":"lan"}`, "timeout"},
		{400, "POST", web + "/nics?timeout=1s&timeout=2s", `{"id":"lan"}`, "timeout"},
		{400, "POST", web + "/devices?plan", `{"nics":[{"id":"lan"}]}`, "plan"},
		{400, "DELETE", web + "/devices/lan?nowait", "", "no_wait"},
		{400, "DELETE", web + "/nics/lan?live_only", "", "live_only"},
		{400, "DELETE", web + "/devices?ids=lan", "", "ids"},
		{400, "DELETE", web + "/devices?id=", "", "id"},
		{400, "GET", web + "/devices?all", "", "all"},
		{400, "GET", web + "/check?incomming", "", "incoming"},
		{400, "GET", web + "/check?monitor=", "", "monitor"},
		{400, "GET", db + "/boot?spare_port=3", "", "spare_ports"},
		{400, "GET", "/events?sinse=0", "", "since"},
		{400, "GET", web + "/events?limit=", "", "limit"},
		{400, "GET", "/guests?state=open", "", "state"},
		{400, "GET", "/version?v", "", "v"},

		// The body.
		{400, "POST", web + "/nics", "", "empty"},
		{400, "POST", web + "/nics", " \n", "empty"},
		{400, "POST", web + "/nics", "null", "no JSON object"},
		{400, "POST", web + "/nics", "[]", "no JSON object"},
		{400, "POST", web + "/nics", `"lan"`, "no JSON object"},
		{400, "POST", web + "/nics", "1", "no JSON object"},
		{400, "POST", web + "/nics", `{"id":"lan"`, "ends"},
		{400, "POST", web + "/nics", `{"id":"lan"}{}`, "follows"},
		{400, "POST", web + "/nics", `{"id":"lan"} x`, "follows"},
		{400, "POST", web + "/nics", `{"id":"lan","id":"wan"}`, "twice"},
		{400, "POST", web + "/nics", `{"ID":"lan"}`, `has no "ID"`},
		{400, "POST", web + "/nics", `{"id":"lan","bridgr":"br0"}`, "bridge"},
		{400, "POST", web + "/nics", `{"id":"lan","bridge":null}`, "null"},
		{400, "POST", web + "/nics", `{"id":7}`, "the body"},
		{400, "POST", web + "/nics", `{"id":"lan","queues":1.5}`, "the body"},
		{400, "POST", web + "/nics", `{"id":"lan","queues":99999999999999999999}`, "the body"},
		{400, "POST", web + "/nics", "{\"id\":\"l\xffn\"}", "UTF-8"},
		{400, "POST", web + "/nics", `{"id":"l\ud800n"}`, "half a character"},
		{400, "POST", web + "/nics", `{"id":"l\udc00\ud800"}`, "half a character"},
		{400, "POST", web + "/devices", `{"nics":[{"id":"lan","id":"wan"}]}`, "twice"},
		{400, "POST", web + "/devices", `{"nics":[null]}`, "no JSON object"},
		{400, "POST", web + "/devices", `{"nics":[{"id":"lan"}],"disk":[]}`, "disks"},
		{400, "POST", web + "/disks", `{"path":"` + path + `","scsi":{"target":1,"lunn":2}}`, "lun"},
		{400, "POST", web + "/qmp", `{"execute":"query-status","arguments":{"a":1,"a":2}}`, "twice"},
		{400, "POST", db + "/start", "", "empty"},
		{400, "POST", db + "/start", "null", "no JSON object"},
		{400, "POST", db + "/record/nics", "null", "no JSON object"},
		{400, "PUT", "/guests/new1", "", "empty"},
		{400, "PUT", "/guests/new1", "null", "no JSON object"},
		{400, "POST", web + "/repair", "{}", "no body"},
		{400, "DELETE", web + "/devices/lan", `{"no_wait":true}`, "no body"},
		{400, "GET", web + "/devices", `{}`, "no body"},
		{413, "POST", web + "/nics", `{"id":"` + strings.Repeat("x", bodyLimit) + `"}`, "larger"},

		// The request.
		{404, "GET", "/", "", "/"},
		{404, "GET", "/guest", "", "/guest"},
		{404, "GET", "/guests/", "", "/guests/"},
		{404, "POST", "//guests/web1/nics", `{"id":"lan"}`, "//guests"},
		{404, "POST", web + "/../web1/nics", `{"id":"lan"}`, ".."},
		{404, "POST", web + "/nic", `{"id":"lan"}`, "/nic"},
		{405, "PATCH", web, `{}`, "GET, HEAD, PUT"},
		{405, "GET", web + "/nics", "", "POST"},
		{405, "PUT", web + "/nics", disk, "POST"},
		{405, "DELETE", web, "", "PUT"},
		{405, "OPTIONS", "/guests", "", "GET, HEAD"},
		{405, "POST", "/events", "{}", "GET, HEAD"},
		{405, "HEAD", web + "/nics", "", ""},
	} {
		got := agent.do(t, one.method, one.path, one.body)
		if one.status == http.StatusMethodNotAllowed && got.header.Get("Allow") == "" {
			t.Errorf("%s %s: the answer has no Allow", one.method, one.path)
		}
		if one.method == http.MethodHead {
			if got.status != one.status {
				t.Errorf("%s %s: %d", one.method, one.path, got.status)
			}
			continue
		}
		answer := want[failure](t, agent, one.status, one.method, one.path, one.body)
		if answer.Error.Errno == 0 || !strings.Contains(answer.Error.Message, one.part) {
			t.Errorf("%s %s %s: %+v", one.method, one.path, one.body, answer.Error)
		}
	}

	for _, one := range []struct {
		status      int
		name, value string
	}{
		{415, "Content-Type", "text/plain"},
		{415, "Content-Type", "multipart/form-data; boundary=x"},
		{415, "Content-Type", "application/json; charset=latin1"},
		{415, "Content-Type", "json"},
		{415, "Content-Encoding", "gzip"},
		{200, "Content-Type", "application/json; charset=UTF-8"},
		{200, "Content-Type", "application/vnd.agent+json"},
		// What curl -d says.
		{200, "Content-Type", "application/x-www-form-urlencoded"},
	} {
		got := agent.doWith(t, "POST", web+"/nics?plan", `{"id":"lan","vhost":"off"}`, http.Header{one.name: {one.value}})
		if got.status != one.status {
			t.Errorf("%s: %s: %d %s", one.name, one.value, got.status, got.text)
		}
	}
	both := agent.doWith(t, "GET", web+"/devices?timeout=1s", "", http.Header{"X-Timeout": {"2s"}})
	if both.status != http.StatusBadRequest {
		t.Errorf("two timeouts: %d %s", both.status, both.text)
	}

	// Nothing of all that was done.
	if devices := want[[]kvmhotplug.Device](t, agent, http.StatusOK, "GET", web+"/devices", ""); len(devices) != 0 {
		t.Errorf("there are %+v", devices)
	}
	if guests := want[[]status](t, agent, http.StatusOK, "GET", "/guests", ""); len(guests) != 2 {
		t.Errorf("there are %+v", guests)
	}
	agent.end(t)
}

// HEAD is GET without the body, and a stream is not begun for it.
func TestHead(t *testing.T) {
	dir := directory(t)
	newRecord(t, dir, "db1")
	agent := startAgent(t, dir)
	for path, status := range map[string]int{
		"/guests": 200, "/guests/db1/record": 200, "/events": 200, "/guests/db1/events": 200, "/guests/nobody": 404, "/nothing": 404, "/guests?x": 400,
	} {
		if got := agent.do(t, "HEAD", path, ""); got.status != status || got.text != "" || got.header.Get("Content-Type") == "" {
			t.Errorf("%s: %d %v %q", path, got.status, got.header, got.text)
		}
	}
	agent.end(t)
}

// All that JSON can say another way is taken as it is meant.
func TestTextsInBodies(t *testing.T) {
	var got struct {
		Text string `json:"text"`
	}
	for text, want := range map[string]string{
		`{"text":"\ud83d\ude00"}`: "😀",
		`{"text":"\\ud800"}`:      `\ud800`,
		`{"text":"\u00e9\"\\"}`:   `é"\`,
		`{"text":"\ufffd"}`:       "\ufffd",
		` { "text" : "é" } `:      "é",
	} {
		if err := decode([]byte(text), &got); err != nil || got.Text != want {
			t.Errorf("%s: %q, %v", text, got.Text, err)
		}
	}
	for _, text := range []string{`{"text":"\ud83d"}`, `{"text":"\ud83d\u0041"}`, `{"text":"\ud83d\ud83d"}`, `{"text":"\ud8`, `{"text":"\`, `{"text":"\u"}`, `{"te`, `{`, `{"text":}`} {
		if err := decode([]byte(text), &got); err == nil {
			t.Errorf("%s is taken as %q", text, got.Text)
		}
	}
}

func newOffGuest(t testing.TB, agent *agent, name string, more string) {
	t.Helper()
	want[status](t, agent, http.StatusCreated, "PUT", "/guests/"+name,
		`{"command":["`+setting("KVM_HOTPLUG_TEST_QEMU", "qemu-system-x86_64")+`","-nodefaults","-display","none","-machine","pc","-accel","tcg","-m","32"`+more+`]}`)
}

// A guest that was started is open when that is answered; what keeps it from being open is said.
func TestStart(t *testing.T) {
	dir := directory(t)
	agent := startAgent(t, dir)
	newOffGuest(t, agent, "good", `,"-qmp","unix:`+filepath.Join(dir, "good.qmp")+`,server=on,wait=off"`)
	newOffGuest(t, agent, "wrong", `,"-no-such-option"`)
	newOffGuest(t, agent, "mute", ``)

	planned := want[struct {
		PID     int
		Command []string
	}](t, agent, http.StatusOK, "POST", "/guests/good/start", `{"plan":true}`)
	if planned.PID != 0 || len(planned.Command) < 10 {
		t.Errorf("planned %+v", planned)
	}
	good := want[struct{ PID int }](t, agent, http.StatusCreated, "POST", "/guests/good/start", `{}`)
	t.Cleanup(func() { _ = syscall.Kill(good.PID, syscall.SIGKILL) })
	want[[]kvmhotplug.Device](t, agent, http.StatusOK, "GET", "/guests/good/devices", "")
	want[map[string]any](t, agent, http.StatusOK, "POST", "/guests/good/start", `{"plan":true}`)
	again := want[failure](t, agent, http.StatusConflict, "POST", "/guests/good/start", `{}`)
	if again.Error.Errno != syscall.EBUSY {
		t.Errorf("started again: %+v", again.Error)
	}

	wrong := want[failure](t, agent, http.StatusBadGateway, "POST", "/guests/wrong/start", `{}`)
	if !strings.Contains(wrong.Error.Message, "exit status 1") || !strings.Contains(wrong.Error.Message, "no-such-option") {
		t.Errorf("a wrong command: %+v", wrong.Error)
	}
	// Its last words are those of this start.
	ok(t, os.WriteFile(filepath.Join(dir, "wrong.log"), []byte("of yesterday\n"), 0o600))
	wrong = want[failure](t, agent, http.StatusBadGateway, "POST", "/guests/wrong/start", `{}`)
	if strings.Contains(wrong.Error.Message, "yesterday") {
		t.Errorf("a wrong command: %+v", wrong.Error)
	}

	mute := want[failure](t, agent, http.StatusGatewayTimeout, "POST", "/guests/mute/start?timeout=2s", `{}`)
	if mute.Error.Undo != kvmhotplug.UndoIncomplete || len(mute.Error.Residue) != 1 || !strings.Contains(mute.Error.Message, "mute.qmp") {
		t.Errorf("a QEMU without that socket: %+v", mute.Error)
	}
	pid := strings.Fields(mute.Error.Residue[0])[2]
	t.Cleanup(func() { _ = exec.Command("kill", "-KILL", strings.Trim(pid, ",")).Run() })
	for _, request := range []string{"/start", "/record/nics"} {
		second := want[failure](t, agent, http.StatusConflict, "POST", "/guests/mute"+request, `{}`)
		if !strings.Contains(second.Error.Message, strings.Trim(pid, ",")) {
			t.Errorf("%s beside a QEMU that runs: %+v", request, second.Error)
		}
	}

	// Killed or not: guests outlive the agent.
	ok(t, agent.process.Kill())
	_, _ = agent.process.Wait()
	time.Sleep(100 * time.Millisecond)
	ok(t, syscall.Kill(good.PID, 0))
}

// A QEMU that runs and is not open yet is not started a second time, and its record is left alone.
func TestQEMUStartedElsewhere(t *testing.T) {
	dir := directory(t)
	agent := startAgent(t, dir)
	newOffGuest(t, agent, "web1", ``)
	// The agent looks every two seconds.
	startQEMU(t, filepath.Join(dir, "web1.qmp"), false)
	for _, request := range []string{"/start", "/record/nics"} {
		got := want[failure](t, agent, http.StatusConflict, "POST", "/guests/web1"+request, `{}`)
		if got.Error.Errno != syscall.EBUSY {
			t.Errorf("%s: %+v", request, got.Error)
		}
	}
	agent.end(t)
}

// The unit leaves the guests that the agent has started alone, whatever becomes of the agent.
func TestSystemdUnit(t *testing.T) {
	text, err := os.ReadFile("kvm-agent.service")
	ok(t, err)
	for _, line := range []string{"Type=notify", "KillMode=process", "OOMPolicy=continue", "RuntimeDirectoryPreserve=yes"} {
		if !strings.Contains(string(text), "\n"+line+"\n") {
			t.Errorf("the unit does not say %s", line)
		}
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		notRun(t, "there is no systemd-analyze here, which reads the unit")
	}
	unit := filepath.Join(t.TempDir(), "kvm-agent.service")
	ok(t, os.WriteFile(unit, []byte(strings.ReplaceAll(string(text), "/usr/local/sbin/kvm-agent", program)), 0o600))
	if said, err := exec.Command(analyze, "verify", "--man=no", unit).CombinedOutput(); err != nil || strings.Contains(string(said), "kvm-agent.service") {
		t.Errorf("%v: %s", err, said)
	}
}
