package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sys/unix"
)

// agent is the one of a node. What it knows of guests is in their workers, which live as long as a session.
type agent struct {
	client *clientv3.Client
	keys   schema
	logger *slog.Logger
	level  slog.Level
	times  timing
	node   string
	info   NodeInfo
	// dir is this node's own, for sockets, logs, and the guards' files; records is shared, with a directory
	// for each node.
	dir, records string
}

const (
	// Between two attempts to become the agent of the node.
	standbyPause = 200 * time.Millisecond
	// For how long a migration's target may get ready.
	patience = 60 * time.Second
)

// run is the agent of its node as often as it can be, until the context ends.
func (a *agent) run(ctx context.Context) error {
	if err := os.MkdirAll(a.recordDir(a.node), 0o700); err != nil {
		return err
	}
	// Two agents of one node would fight for monitors and records. The kernel gives the lock back when one is
	// killed.
	lock, err := a.await(ctx)
	if err != nil {
		return err
	}
	defer lock.Close()
	said := ""
	for ctx.Err() == nil {
		held, err := register(ctx, a.client, a.keys, a.node, a.info, a.times)
		if err == nil {
			said = ""
			a.logger.Info("is the agent of this node", "lease", fmt.Sprintf("%x", held.id))
			err = a.serve(ctx, held)
		}
		if err != nil && ctx.Err() == nil && err.Error() != said {
			said = err.Error()
			a.logger.Warn("is not the agent of this node", "error", err)
		}
		sleep(ctx, standbyPause)
	}
	return nil
}

// await returns when no other process is the agent in this directory.
func (a *agent) await(ctx context.Context) (*os.File, error) {
	for said := false; ; {
		lock, err := takeLock(filepath.Join(a.dir, "agent.lock"))
		if !errors.Is(err, unix.EAGAIN) {
			return lock, err
		}
		if !said {
			said = true
			a.logger.Info("stands by: another agent has this directory")
		}
		if !sleep(ctx, standbyPause) {
			return nil, ctx.Err()
		}
	}
}

// serve does the node's work for one session.
func (a *agent) serve(ctx context.Context, held *session) error {
	defer held.end()
	stop := context.AfterFunc(ctx, held.end)
	defer stop()
	permits := newPermits(a.dir, held.until()+a.times.grace)
	var tasks sync.WaitGroup
	defer tasks.Wait()
	tasks.Add(1)
	go func() {
		defer tasks.Done()
		held.renew(held.ctx, a.times, a.logger, func(deadline time.Duration) {
			if err := permits.extend(deadline + a.times.grace); err != nil {
				a.logger.Error("cannot let guests run on", "error", err)
			}
		})
	}()
	crew := &crew{agent: a, session: held, permits: permits, workers: map[string]*worker{}, tasks: &tasks}
	for held.ctx.Err() == nil {
		err := follow(held.ctx, a.client, a.keys, crew.show)
		if held.ctx.Err() == nil {
			a.logger.Warn("reads all keys anew", "error", err)
			sleep(held.ctx, standbyPause)
		}
	}
	return errors.New("the lease is over")
}

// crew is the workers of a session, one for each guest.
type crew struct {
	agent   *agent
	session *session
	permits *permits
	workers map[string]*worker
	tasks   *sync.WaitGroup
}

// show gives every worker the newest view. Guests that are only on this node, and in no key, have a worker as
// well.
func (c *crew) show(now view) {
	names := map[string]bool{}
	for name := range now.Guests {
		names[name] = true
	}
	for _, dir := range []string{c.agent.dir, c.agent.recordDir(c.agent.node)} {
		left, err := guestsIn(dir, ".until", recordSuffix)
		if err != nil {
			c.agent.logger.Error("cannot look for guests", "directory", dir, "error", err)
		}
		for _, name := range left {
			names[name] = true
		}
	}
	for name := range names {
		if known, ok := c.workers[name]; ok {
			known.see(now)
		} else {
			c.begin(name, now)
		}
	}
}

// begin gives a guest its worker.
func (c *crew) begin(name string, now view) {
	made := newWorker(c.agent, c.session, c.permits, name, now)
	c.workers[name] = made
	// What this node runs by right goes on. Read after the registration: from then on nobody takes a guest
	// from here.
	if mayRun(now.guest(name), c.agent.node) && made.runs() {
		if err := c.permits.grant(name); err != nil {
			made.logger.Error("cannot let the guest run on", "error", err)
		}
	}
	c.tasks.Add(1)
	go func() {
		defer c.tasks.Done()
		made.work(c.session.ctx)
	}()
}

// mayRun: the guest is the node's, or is on its way there.
func mayRun(guest guestView, node string) bool {
	if guest.Owner.Node == node {
		return true
	}
	return guest.Migration != nil && guest.Migration.To == node && guest.Migration.From == guest.Owner.Node
}

func (a *agent) recordDir(node string) string { return filepath.Join(a.records, node) }

func (a *agent) recordFile(node, name string) string {
	return filepath.Join(a.recordDir(node), name+recordSuffix)
}

func (a *agent) monitor(name string) string { return filepath.Join(a.dir, name+".qmp") }

const recordSuffix = ".runtime"
