package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// timing is how long what takes. README.md has the argument why no guest runs twice.
type timing struct {
	// ttl is the lease's time; grace is for how much longer the guards let guests run without a renewal.
	ttl, grace time.Duration
	// margin is what other nodes wait beyond that: for ending a process, and for clocks that do not go alike.
	margin time.Duration
}

// wait is how long a node has to be gone, as another one sees it, before its guests are taken.
func (t timing) wait() time.Duration { return t.grace + t.margin }

// session is one lease of a node: from its registration until a renewal comes too late.
type session struct {
	client *clientv3.Client
	keys   schema
	node   string
	id     clientv3.LeaseID
	// revision of the node's leased key: who writes with held() is this session.
	revision int64
	// ctx ends when the lease ends, as this node sees it.
	ctx context.Context
	end context.CancelFunc

	mutex    sync.Mutex
	deadline time.Duration
}

// register takes the node's leased key, if no other agent has it. It fails with errTaken if one has.
func register(ctx context.Context, client *clientv3.Client, keys schema, node string, info NodeInfo, times timing) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, times.ttl)
	defer cancel()
	// The time before the request: etcd begins to count later than that, never earlier.
	sent := bootTime()
	lease, err := client.Grant(ctx, int64(times.ttl/time.Second))
	if err != nil {
		return nil, err
	}
	value, err := json.Marshal(info)
	if err != nil {
		return nil, err
	}
	key := keys.lease(node)
	done, err := client.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
		Then(clientv3.OpPut(key, string(value), clientv3.WithLease(lease.ID)), clientv3.OpPut(keys.epoch(node), "")).
		Commit()
	if err == nil && !done.Succeeded {
		err = errTaken
	}
	if err != nil {
		// No key has it, or one that this agent does not act on.
		_, _ = client.Revoke(ctx, lease.ID)
		return nil, err
	}
	made := &session{client: client, keys: keys, node: node, id: lease.ID, revision: done.Header.Revision}
	made.deadline = sent + time.Duration(lease.TTL)*time.Second
	made.ctx, made.end = context.WithCancel(context.Background())
	return made, nil
}

var errTaken = errors.New("another agent has the lease of this node")

// until is when the lease ends, as far as this node can be sure.
func (s *session) until() time.Duration {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.deadline
}

// renew keeps the lease alive, and calls extended each time, until the lease or the context ends. The lease
// is never given back early: other nodes count from its end on, and guests run until later than now.
func (s *session) renew(ctx context.Context, times timing, logger *slog.Logger, extended func(deadline time.Duration)) {
	defer s.end()
	for {
		if !sleep(ctx, min(times.ttl/4, s.until()-bootTime())) || s.until() <= bootTime() {
			return
		}
		attempt, cancel := context.WithTimeout(ctx, min(times.ttl/4, s.until()-bootTime()))
		sent := bootTime()
		answer, err := s.client.KeepAliveOnce(attempt, s.id)
		cancel()
		switch {
		case err == nil:
			s.mutex.Lock()
			s.deadline = sent + time.Duration(answer.TTL)*time.Second
			s.mutex.Unlock()
			extended(s.until())
		case errors.Is(err, rpctypes.ErrLeaseNotFound):
			logger.Warn("the lease is over", "error", err)
			return
		default:
			logger.Warn("the lease was not renewed", "left", s.until()-bootTime(), "error", err)
		}
	}
}

// held is the condition of every write: this session's lease is still the node's.
func (s *session) held() clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(s.keys.lease(s.node)), "=", s.revision)
}

// swap does the operations if the lease is held and the conditions are met, all in one transaction, and
// answers its revision. It fails with errLost if they are not. After any other error it is unknown whether
// etcd has done it.
func (s *session) swap(conditions []clientv3.Cmp, operations ...clientv3.Op) (int64, error) {
	ctx, cancel := context.WithTimeout(s.ctx, swapLimit)
	defer cancel()
	done, err := s.client.Txn(ctx).If(append(conditions, s.held())...).Then(operations...).Commit()
	if err != nil {
		return 0, err
	}
	if !done.Succeeded {
		return 0, errLost
	}
	return done.Header.Revision, nil
}

var errLost = errors.New("somebody else has written first, or the lease is over")

const swapLimit = 5 * time.Second

// unchanged is the condition that nobody has written the key since; revision 0 stands for no key.
func unchanged(key string, revision int64) clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(key), "=", revision)
}

func sleep(ctx context.Context, pause time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(pause):
		return true
	}
}
