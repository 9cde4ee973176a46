package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// listener is the agent's socket. It takes so many connections, and tells the others that it is full. Beside the socket
// lies its lock file, PATH.lock, which the agent that listens keeps locked and which says which socket it made.
type listener struct {
	*net.UnixListener
	path string
	made string
	lock *os.File
	room chan struct{}
	end  sync.Once
}

// listen makes a socket that only its owner can use. What is at the path already is removed if it is a socket that an agent
// made there and nobody listens on any more; anything else is left alone, and is an error.
func listen(path string, connections int) (*listener, error) {
	if path == "" || path[0] == '@' {
		return nil, fmt.Errorf("the socket %q is no path of a file, which is what its mode protects", path)
	}
	// Before the lock: beside a file of another kind may lie a lock of another kind.
	if _, err := identityOf(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	lock, err := takeLock(path + ".lock")
	if err != nil {
		return nil, err
	}
	made := &listener{path: path, lock: lock, room: make(chan struct{}, connections)}
	if err := made.bind(); err != nil {
		lock.Close()
		return nil, err
	}
	return made, nil
}

func (l *listener) bind() error {
	if err := removeLeftOver(l.path, l.lock); err != nil {
		return err
	}
	before := syscall.Umask(0o177)
	bound, err := net.ListenUnix("unix", &net.UnixAddr{Name: l.path, Net: "unix"})
	syscall.Umask(before)
	if err != nil {
		return err
	}
	// It would remove whatever is at the path then.
	bound.SetUnlinkOnClose(false)
	l.UnixListener = bound
	if l.made, err = identityOf(l.path); err == nil {
		err = writeLock(l.lock, l.made)
	}
	if err != nil {
		bound.Close()
	}
	return err
}

// Close ends the listening, and removes the socket if it is still the agent's own.
func (l *listener) Close() (err error) {
	l.end.Do(func() {
		err = l.UnixListener.Close()
		if now, lost := identityOf(l.path); lost == nil && now == l.made {
			err = errors.Join(err, os.Remove(l.path))
		}
		err = errors.Join(err, l.lock.Close())
	})
	return err
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.UnixListener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.room <- struct{}{}:
			return &connection{Conn: conn, leave: sync.OnceFunc(func() { <-l.room })}, nil
		default:
			refuse(conn)
		}
	}
}

// connection gives its place to another one when it is closed.
type connection struct {
	net.Conn
	leave func()
}

func (c *connection) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

// refuse answers whatever the client is about to ask. A new socket has room for that.
func refuse(conn net.Conn) {
	const body = `{"error":{"kind":"limit","errno":11,"message":"the agent has as many connections as it takes; try again later","undo":"nothing"}}` + "\n"
	_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = fmt.Fprintf(conn, "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"+
		"Retry-After: 2\r\nConnection: close\r\n\r\n%s", len(body), body)
	conn.Close()
}

// identityOf tells one socket from another that was made at the same path later.
func identityOf(path string) (string, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return "", err
	}
	known, _ := info.Sys().(*syscall.Stat_t)
	if info.Mode().Type() != os.ModeSocket || known == nil {
		return "", fmt.Errorf("%s is there and is no socket: remove it, or choose another -socket", path)
	}
	return fmt.Sprintf("inode %d of %d.%09d", known.Ino, known.Ctim.Sec, known.Ctim.Nsec), nil
}

// removeLeftOver removes the socket of an agent that was killed.
func removeLeftOver(path string, lock *os.File) error {
	there, err := identityOf(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	made, err := readLock(lock)
	if err != nil {
		return err
	}
	if there != made {
		return fmt.Errorf("%s is a socket that no agent made: remove it if nobody needs it, or choose another -socket", path)
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		conn.Close()
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%s: somebody listens there: %w", path, syscall.EADDRINUSE)
	}
	return os.Remove(path)
}

// What a lock file begins with.
const lockMark = "kvm-agent's socket: "

// takeLock makes and locks the file. One that is not the agent's is neither locked nor written.
func takeLock(path string) (*os.File, error) {
	lock, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	if err = checkLock(lock, path); err != nil {
		lock.Close()
		return nil, err
	}
	return lock, nil
}

func checkLock(lock *os.File, path string) error {
	info, err := lock.Stat()
	if err != nil {
		return err
	}
	known, _ := info.Sys().(*syscall.Stat_t)
	if known == nil || !info.Mode().IsRegular() || known.Nlink != 1 || int(known.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s is there and is no lock file of this agent: a file with one name, its user's, that nobody else can write", path)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("another agent listens there: %s: %w", path, err)
	}
	if now, err := os.Lstat(path); err != nil || !os.SameFile(info, now) {
		return fmt.Errorf("%s was replaced meanwhile: start the agent again", path)
	}
	_, err = readLock(lock)
	return err
}

// readLock is which socket the last agent made; "" if none did.
func readLock(lock *os.File) (string, error) {
	text, err := io.ReadAll(io.NewSectionReader(lock, 0, 256))
	if err != nil {
		return "", err
	}
	made, ok := strings.CutPrefix(string(text), lockMark)
	if !ok && len(text) > 0 {
		return "", fmt.Errorf("%s is there and is no lock file: move it away, or choose another -socket", lock.Name())
	}
	return strings.TrimSuffix(made, "\n"), nil
}

func writeLock(lock *os.File, made string) error {
	if err := lock.Truncate(0); err != nil {
		return err
	}
	_, err := lock.WriteAt([]byte(lockMark+made+"\n"), 0)
	return err
}
