// Kvm-agent is a small node agent: it holds the QMP sockets of a host's guests and plugs NICs and disks into them for
// whoever may use its Unix socket, by HTTP and JSON. See ../README.md for a session with curl.
//
//	kvm-agent [-dir /run/agent] [-socket DIR/agent.sock] [-level info] [-drain 30s]
//	          [-patience 10s] [-idle 1m] [-connections 256]
//
// In the directory, NAME.runtime is the record of the guest NAME and NAME.qmp its QMP socket. SIGTERM and SIGINT end it:
// calls that are running are awaited for as long as -drain says, then cancelled.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

type options struct {
	dir, socket string
	level       slog.Level
	drain       time.Duration
	limits
}

// limits are what clients may take, so that none of them keeps the others from being served.
type limits struct {
	// For sending a request, and for taking each part of its answer. What the request does has its own deadline.
	patience time.Duration
	// Between two requests on a connection.
	idle time.Duration
	// Half of them may be event streams.
	connections int
}

func parseOptions() options {
	var chosen options
	flag.StringVar(&chosen.dir, "dir", "/run/agent", "directory of runtime files and QMP sockets")
	flag.StringVar(&chosen.socket, "socket", "", "where to listen (default DIR/agent.sock)")
	flag.TextVar(&chosen.level, "level", slog.LevelInfo, "log lines of this level and above: debug, info, warn, error")
	flag.DurationVar(&chosen.drain, "drain", 30*time.Second, "how long to wait for running calls at the end")
	flag.DurationVar(&chosen.patience, "patience", 10*time.Second, "how long a client may take to send a request, and to read what comes")
	flag.DurationVar(&chosen.idle, "idle", time.Minute, "how long a connection may stay without a request")
	flag.IntVar(&chosen.connections, "connections", 256, "how many connections are taken at a time; half of them may be event streams")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "kvm-agent: takes no arguments besides its flags")
		os.Exit(2)
	}
	if chosen.patience <= 0 || chosen.idle <= 0 || chosen.connections < 2 {
		fmt.Fprintln(os.Stderr, "kvm-agent: -patience and -idle have to be more than nothing, and -connections 2 or more")
		os.Exit(2)
	}
	if chosen.socket == "" {
		chosen.socket = filepath.Join(chosen.dir, "agent.sock")
	}
	return chosen
}

func main() {
	chosen := parseOptions()
	logger := newLogger(os.Stderr, chosen.level)
	if err := run(chosen, logger); err != nil {
		logger.Error("ends", "error", err)
		os.Exit(1)
	}
}

func run(chosen options, logger *slog.Logger) error {
	ending, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	listener, err := listen(chosen.socket, chosen.connections)
	if err != nil {
		return err
	}
	defer listener.Close()
	news := newFeed()
	guests := newRegistry(chosen.dir, logger, chosen.level, news)
	defer guests.stop()
	// What is unfinished is settled before anybody is served.
	if err := guests.start(ending); err != nil {
		return err
	}
	calls, cancelCalls := context.WithCancel(context.Background())
	defer cancelCalls()
	server := &http.Server{
		Handler: newServer(guests, news, logger, chosen.limits),
		// Not for whole requests and answers: calls wait for guests, and event streams do not end.
		ReadHeaderTimeout: chosen.patience,
		IdleTimeout:       chosen.idle,
		MaxHeaderBytes:    64 << 10,
		BaseContext:       func(net.Listener) context.Context { return calls },
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	logger.Info("listens", "socket", chosen.socket, "guests", len(guests.list()))
	notify("READY=1")
	select {
	case err = <-failed:
	case <-ending.Done():
		logger.Info("is asked to end")
		notify("STOPPING=1")
		err = drain(server, chosen.drain, cancelCalls, news, logger)
	}
	return err
}

// drain takes no new requests, ends the event streams, waits for the calls that are running, and cancels those that take
// too long: they answer what became of their device.
func drain(server *http.Server, limit time.Duration, cancelCalls context.CancelFunc, news *feed, logger *slog.Logger) error {
	const lastWord = 5 * time.Second
	news.close()
	patient, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	err := server.Shutdown(patient)
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	logger.Warn("cancels the calls that are still running")
	cancelCalls()
	soon, cancel := context.WithTimeout(context.Background(), lastWord)
	defer cancel()
	return server.Shutdown(soon)
}
