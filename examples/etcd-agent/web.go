package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

//go:embed page.html
var page []byte

// board has the newest overview for whoever asks.
type board struct {
	mutex sync.Mutex
	now   overview
	known bool
}

func (b *board) show(now view) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.now, b.known = overviewOf(now), true
}

// handler serves the page, and what it shows as JSON.
func (b *board) handler() http.Handler {
	routes := http.NewServeMux()
	routes.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'")
		_, _ = w.Write(page)
	})
	routes.HandleFunc("GET /guests.json", func(w http.ResponseWriter, _ *http.Request) {
		b.mutex.Lock()
		now, known := b.now, b.known
		b.mutex.Unlock()
		if !known {
			http.Error(w, "etcd has not answered yet", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_ = json.NewEncoder(w).Encode(now)
	})
	return routes
}

func webMain(ctx context.Context, arguments []string) error {
	flags := newOptions("web")
	address := flags.String("listen", "127.0.0.1:8080", "where to listen; whoever can connect sees everything, and changes nothing")
	if err := flags.parse(arguments, 0, 0); err != nil {
		return err
	}
	client, keys, err := flags.connect()
	if err != nil {
		return err
	}
	defer client.Close()
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		return err
	}
	shown := new(board)
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	go func() {
		for ctx.Err() == nil {
			err := follow(ctx, client, keys, shown.show)
			logger.Warn("reads all keys anew", "error", err)
			sleep(ctx, time.Second)
		}
	}()
	server := &http.Server{Handler: shown.handler(), ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
