package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"example.org/kvm-hotplug/bindings/go/kvmhotplug"
)

const (
	// How long a QEMU may take until the guest is open, if the request does not say.
	startLimit = 30 * time.Second
	// Between two attempts to open it.
	startPause = 50 * time.Millisecond
	// So much of its last words is shown when it ends instead.
	lastWords = 2 << 10
)

// start boots the guest, or has a QEMU wait for its migration, and answers when the guest is open. QEMU outlives the agent: the
// record's own command says where its socket is, and the agent opens the guest there like any other.
func (s *server) start(ctx context.Context, r *http.Request) (int, any, error) {
	var options kvmhotplug.BootOptions
	if err := read(r, &options); err != nil {
		return 0, nil, err
	}
	guest, err := s.guests.find(r.PathValue("guest"))
	if err != nil {
		return 0, nil, err
	}
	if options.Plan {
		return planStart(guest, options)
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, startLimit)
		defer cancel()
	}
	var qemu *started
	err = guest.hold(ctx, func(record *kvmhotplug.Runtime) error {
		qemu, err = guest.boot(record, options, filepath.Join(s.guests.dir, guest.name+".log"))
		if err == nil {
			guest.qemu = qemu
		}
		return err
	})
	if err != nil {
		return 0, nil, err
	}
	if err := guest.awaitOpen(ctx, qemu); err != nil {
		return 0, nil, err
	}
	return http.StatusCreated, map[string]any{"pid": qemu.pid, "command": qemu.arguments, "state": "open"}, nil
}

// planStart shows the command of a start, whether the guest runs or not.
func planStart(guest *guest, options kvmhotplug.BootOptions) (int, any, error) {
	record, err := kvmhotplug.Read(guest.record)
	if err != nil {
		return 0, nil, err
	}
	defer record.Close()
	boot, err := record.Boot(options)
	if err != nil {
		return 0, nil, err
	}
	defer boot.Close()
	return http.StatusOK, map[string]any{"command": boot.Args}, nil
}

// started is a QEMU that the agent started.
type started struct {
	pid       int
	arguments []string
	// What it says goes there, behind what earlier ones have said.
	log    string
	before int64
	// Closed when it has ended; how, is known then.
	ended chan struct{}
	how   error
}

func (g *guest) boot(record *kvmhotplug.Runtime, options kvmhotplug.BootOptions, log string) (*started, error) {
	said, err := openLog(log)
	if err != nil {
		return nil, err
	}
	defer said.Close()
	before, err := said.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	if options.Monitor == "" {
		options.Monitor = g.socket
	}
	boot, err := record.Boot(options)
	if err != nil {
		return nil, err
	}
	defer boot.Close()
	command := boot.Command()
	command.Stdout, command.Stderr = said, said
	command.Env = ownEnvironment(os.Environ())
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := command.Start(); err != nil {
		return nil, err
	}
	made := &started{pid: command.Process.Pid, arguments: boot.Args, log: log, before: before, ended: make(chan struct{})}
	go made.wait(command, g.logger)
	return made, nil
}

// ownEnvironment leaves out what systemd has told the agent alone.
func ownEnvironment(all []string) (rest []string) {
	for _, entry := range all {
		switch name, _, _ := strings.Cut(entry, "="); name {
		case "NOTIFY_SOCKET", "JOURNAL_STREAM", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "MAINPID":
		default:
			rest = append(rest, entry)
		}
	}
	return rest
}

func (s *started) wait(command *exec.Cmd, logger *slog.Logger) {
	s.how = command.Wait()
	logger.Info("QEMU has ended", "pid", s.pid, "error", s.how)
	close(s.ended)
}

func (s *started) runs() bool {
	if s == nil {
		return false
	}
	select {
	case <-s.ended:
		return false
	default:
		return true
	}
}

// awaitOpen returns when the guest is open, or why it is not. A QEMU that lives is left alone.
func (g *guest) awaitOpen(ctx context.Context, qemu *started) error {
	ended := qemu.ended
	for {
		_, err := g.open()
		if err == nil {
			return nil
		}
		g.retry()
		select {
		case <-ended:
			if qemu.how != nil {
				return qemu.failed(g.name)
			}
			// With -daemonize another process goes on.
			ended = nil
		case <-ctx.Done():
			return g.notOpen(ctx, qemu, err)
		case <-time.After(startPause):
		}
	}
}

func (s *started) failed(name string) error {
	text := fmt.Sprintf("QEMU of %s has ended, before the guest was open: %v", name, s.how)
	if said := s.said(); said != "" {
		text += "; it said: " + said
	}
	return &refusal{http.StatusBadGateway, &kvmhotplug.Error{Kind: kvmhotplug.ErrHost, Errno: syscall.EREMOTEIO, Message: text}}
}

func (g *guest) notOpen(ctx context.Context, qemu *started, why error) error {
	failed := &kvmhotplug.Error{
		Kind: kvmhotplug.ErrTimeout, Errno: syscall.ETIMEDOUT, Undo: kvmhotplug.UndoIncomplete,
		Message: fmt.Sprintf("QEMU was started, but %v; its command has to make the socket %s", why, g.socket),
		Residue: []string{fmt.Sprintf("QEMU, process %d, runs on, and is opened when it can be", qemu.pid)},
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		failed.Kind, failed.Errno = kvmhotplug.ErrCanceled, syscall.ECANCELED
	}
	return failed
}

// said is the end of what this QEMU has said.
func (s *started) said() string {
	log, err := os.Open(s.log)
	if err != nil {
		return ""
	}
	defer log.Close()
	info, err := log.Stat()
	if err != nil {
		return ""
	}
	from := max(s.before, info.Size()-lastWords)
	text, _ := io.ReadAll(io.NewSectionReader(log, from, lastWords))
	return strings.ToValidUTF8(string(bytes.TrimSpace(text)), "?")
}

// openLog opens a file for what QEMU says, and nothing else that may be there by that name.
func openLog(path string) (*os.File, error) {
	log, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := log.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &os.PathError{Op: "open", Path: path, Err: errors.New("this is no file")}
	}
	if err != nil {
		log.Close()
		return nil, err
	}
	return log, nil
}

// answered tells whether somebody listens at the guest's QMP socket.
func (g *guest) answered() bool {
	conn, err := net.Dial("unix", g.socket)
	if err == nil {
		conn.Close()
	}
	return err == nil || errors.Is(err, syscall.EAGAIN)
}
