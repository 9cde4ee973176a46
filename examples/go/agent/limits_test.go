package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.org/kvm-hotplug/bindings/go/kvmhotplug"
)

// dial is a client that does not do as clients should.
func (a *agent) dial(t testing.TB) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", filepath.Join(a.dir, "agent.sock"))
	ok(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

func send(t testing.TB, conn net.Conn, text string) {
	t.Helper()
	_, err := io.WriteString(conn, text)
	ok(t, err)
}

// closed waits until the agent has closed the connection, and returns what it said before.
func closed(t testing.TB, conn net.Conn) string {
	t.Helper()
	ok(t, conn.SetReadDeadline(time.Now().Add(patience)))
	text, err := io.ReadAll(conn)
	ok(t, err)
	return string(text)
}

// unfinished is a request whose body ends before its end.
func unfinished(method, path string) string {
	return method + " " + path + " HTTP/1.1\r\nHost: agent\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"id\":"
}

// Whatever is asked for, a body that does not come holds nothing that others need.
func TestUnfinishedBody(t *testing.T) {
	dir := directory(t)
	newRecord(t, dir, "db1")
	agent := startAgent(t, dir)
	const guest = "/guests/db1"
	var held []net.Conn
	begin := func(text string) {
		conn := agent.dial(t)
		send(t, conn, text)
		held = append(held, conn)
	}
	for _, what := range []string{
		"POST " + guest + "/record/nics", "POST " + guest + "/record/disks", "DELETE " + guest + "/record/lan", "POST " + guest + "/start",
		"POST " + guest + "/convert", "PUT /guests/db2", "POST " + guest + "/nics", "GET " + guest, "POST /nowhere",
	} {
		method, path, _ := strings.Cut(what, " ")
		begin(unfinished(method, path))
	}
	begin("POST " + guest + "/record/nics HTTP/1.1\r\nHost: agent\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"id\"\r\n")
	want[kvmhotplug.Device](t, agent, http.StatusCreated, "POST", guest+"/record/nics?timeout=5s", `{"id":"lan"}`)
	want[map[string]any](t, agent, http.StatusOK, "DELETE", guest+"/record/lan?timeout=5s", "")
	for _, conn := range held {
		conn.Close()
	}
	agent.end(t)
}

// Clients that are slow lose their connection; calls and streams that take long do not.
func TestSlowClients(t *testing.T) {
	dir := directory(t)
	newRecord(t, dir, "web1")
	path := newImage(t, dir, "data.img")
	startQEMU(t, filepath.Join(dir, "web1.qmp"), false)
	agent := startAgentWith(t, dir, []string{"-patience", "300ms", "-idle", "200ms"})
	stream := agent.dial(t)
	send(t, stream, "GET /events HTTP/1.1\r\nHost: agent\r\n\r\n")

	silent, header, body, keeping := agent.dial(t), agent.dial(t), agent.dial(t), agent.dial(t)
	send(t, header, "GET /guests HTTP/1.1\r\nHost: ag")
	send(t, body, unfinished("POST", "/guests/web1/nics"))
	send(t, keeping, "GET /version HTTP/1.1\r\nHost: agent\r\n\r\n")
	for name, one := range map[string]struct {
		conn net.Conn
		want string
	}{"nothing": {silent, ""}, "half a header": {header, ""}, "half a body": {body, "HTTP/1.1 408"}, "one request": {keeping, "HTTP/1.1 200"}} {
		if said := closed(t, one.conn); !strings.HasPrefix(said, one.want) || one.want == "" && strings.Contains(said, "200 OK") {
			t.Errorf("after %s the agent said %q", name, said)
		}
	}

	// Several times as long as either limit, with one connection for all.
	want[kvmhotplug.Result](t, agent, http.StatusCreated, "POST", "/guests/web1/disks", `{"id":"data","path":"`+path+`"}`)
	want[kvmhotplug.Result](t, agent, http.StatusAccepted, "DELETE", "/guests/web1/disks/data?timeout=1s", "")
	newRecord(t, dir, "web2")
	startQEMU(t, filepath.Join(dir, "web2.qmp"), false)
	ok(t, stream.SetReadDeadline(time.Now().Add(patience)))
	for lines := bufio.NewScanner(stream); ; {
		if !lines.Scan() {
			t.Fatalf("the stream has ended: %v", lines.Err())
		}
		if strings.Contains(lines.Text(), `"web2"`) {
			break
		}
	}
	agent.end(t)
}

// A stream whose reader takes nothing does not stay for ever.
func TestReaderThatTakesNothing(t *testing.T) {
	news := newFeed()
	for range feedLength {
		news.add("web1", "qmp", kvmhotplug.Event{Text: strings.Repeat("x", 4096)})
	}
	ended := make(chan error, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ended <- news.stream(w, r, "", limits{patience: 100 * time.Millisecond, connections: 2})
	}))
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	ok(t, err)
	defer conn.Close()
	ok(t, conn.(*net.TCPConn).SetReadBuffer(4096))
	send(t, conn, "GET /events?since=1 HTTP/1.1\r\nHost: agent\r\n\r\n")
	select {
	case err := <-ended:
		ok(t, err)
	case <-time.After(patience):
		t.Fatal("the stream goes on")
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	dir := directory(t)
	agent := startAgentWith(t, dir, []string{"-connections", "6"})
	agent.client.CloseIdleConnections()
	var streams []net.Conn
	for range 3 {
		conn := agent.dial(t)
		send(t, conn, "GET /events HTTP/1.1\r\nHost: agent\r\n\r\n")
		_, err := bufio.NewReader(conn).ReadString('\n')
		ok(t, err)
		streams = append(streams, conn)
	}
	more := want[failure](t, agent, http.StatusServiceUnavailable, "GET", "/events", "")
	if !strings.Contains(more.Error.Message, "3 event streams") {
		t.Errorf("one stream more: %+v", more.Error)
	}
	// The client keeps its connection, and with two others that makes six.
	others := []net.Conn{admitted(t, agent), admitted(t, agent)}
	if said := closed(t, agent.dial(t)); !strings.HasPrefix(said, "HTTP/1.1 503 ") || !strings.Contains(said, "Retry-After") {
		t.Errorf("one connection more: %q", said)
	}
	for _, conn := range append(streams, others...) {
		conn.Close()
	}
	waitUntil(t, "there is room again", func() bool {
		return !strings.HasPrefix(firstLine(agent.dial(t)), "HTTP/1.1 503")
	})
	agent.end(t)
}

// admitted is a connection that the agent has room for. The one that the client has closed at the beginning counts until the agent has
// noticed.
func admitted(t *testing.T, agent *agent) (conn net.Conn) {
	t.Helper()
	waitUntil(t, "there is room for a connection", func() bool {
		conn = agent.dial(t)
		_, _ = io.WriteString(conn, "GET /version HTTP/1.1\r\nHost: agent\r\n\r\n")
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err == nil && strings.HasPrefix(line, "HTTP/1.1 200") {
			return true
		}
		conn.Close()
		return false
	})
	return conn
}

func firstLine(conn net.Conn) string {
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET /version HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n")
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	line, _ := bufio.NewReader(conn).ReadString('\n')
	return line
}

// What is at the socket's path and no agent has made is left alone.
func TestWhatIsAtTheSocketsPath(t *testing.T) {
	path := filepath.Join(directory(t), "agent.sock")
	stale := func(path string) {
		other, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		ok(t, err)
		other.SetUnlinkOnClose(false)
		other.Close()
	}
	for name, put := range map[string]func(){
		"file":      func() { ok(t, os.WriteFile(path, []byte("precious"), 0o600)) },
		"directory": func() { ok(t, os.Mkdir(path, 0o700)) },
		"fifo":      func() { ok(t, syscall.Mkfifo(path, 0o600)) },
		"link":      func() { stale(path + ".else"); ok(t, os.Symlink(path+".else", path)) },
		"socket":    func() { stale(path) },
		"lock": func() {
			ok(t, os.RemoveAll(path+".lock"))
			ok(t, os.WriteFile(path+".lock", []byte("precious"), 0o600))
		},
		"lock that is a link": func() {
			ok(t, os.RemoveAll(path+".lock"))
			ok(t, os.Symlink("/dev/null", path+".lock"))
		},
		"lock that is a fifo": func() { ok(t, os.RemoveAll(path+".lock")); ok(t, syscall.Mkfifo(path+".lock", 0o600)) },
		"lock that others can write": func() {
			ok(t, os.RemoveAll(path+".lock"))
			ok(t, os.WriteFile(path+".lock", nil, 0o600))
			ok(t, os.Chmod(path+".lock", 0o666))
		},
	} {
		put()
		before := pictureOf(t, path)
		if listener, err := listen(path, 2); err == nil {
			listener.Close()
			t.Errorf("%s: the agent listens there", name)
		} else if !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Lstat(path + ".lock"); err == nil && name == "file" {
			t.Errorf("%s: there is a lock file now", name)
		}
		if after := pictureOf(t, path); after != before {
			t.Errorf("%s: was %s, is %s", name, before, after)
		}
		for _, what := range []string{path, path + ".lock", path + ".else"} {
			ok(t, os.RemoveAll(what))
		}
	}
	if _, err := listen("@abstract", 2); err == nil {
		t.Error("the agent listens where everybody may connect")
	}
}

// pictureOf shows what is there, and whether it is still the same.
func pictureOf(t testing.TB, path string) (picture string) {
	t.Helper()
	for _, name := range []string{path, path + ".lock"} {
		info, err := os.Lstat(name)
		if os.IsNotExist(err) {
			// An agent that did not start may leave an empty lock file.
			continue
		}
		ok(t, err)
		if name != path && info.Mode().IsRegular() && info.Size() == 0 && info.Mode().Perm() == 0o600 {
			continue
		}
		text := ""
		if info.Mode().IsRegular() {
			content, err := os.ReadFile(name)
			ok(t, err)
			text = string(content)
		}
		picture += fmt.Sprintf("%s %v %d %q; ", filepath.Base(name), info.Mode(), info.Sys().(*syscall.Stat_t).Ino, text)
	}
	return picture
}

// An agent removes the socket of one that was killed, and at its end its own, but none that took its place.
func TestOwnSockets(t *testing.T) {
	path := filepath.Join(directory(t), "agent.sock")
	first, err := listen(path, 2)
	ok(t, err)
	if _, err := listen(path, 2); err == nil || !strings.Contains(err.Error(), "another agent") {
		t.Errorf("beside one that listens: %v", err)
	}
	// As if it was killed.
	ok(t, first.UnixListener.Close())
	ok(t, first.lock.Close())
	second, err := listen(path, 2)
	ok(t, err)

	ok(t, os.Remove(path))
	other, err := net.Listen("unix", path)
	ok(t, err)
	defer other.Close()
	ok(t, second.Close())
	conn, err := net.Dial("unix", path)
	ok(t, err)
	conn.Close()
	// That one lives and is another's.
	if _, err := listen(path, 2); err == nil {
		t.Error("a live socket was taken away")
	}
	other.Close()
	third, err := listen(path, 2)
	ok(t, err)
	ok(t, third.Close())
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
}

// What QEMU says goes into a file, and not where a link or a fifo of that name leads.
func TestLogThatIsNoFile(t *testing.T) {
	dir := directory(t)
	newRecord(t, dir, "db1")
	ok(t, syscall.Mkfifo(filepath.Join(dir, "db1.log"), 0o600))
	agent := startAgent(t, dir)
	got := want[failure](t, agent, http.StatusInternalServerError, "POST", "/guests/db1/start?timeout=5s", `{}`)
	if !strings.Contains(got.Error.Message, "db1.log") {
		t.Errorf("a fifo: %+v", got.Error)
	}
	agent.end(t)
}
