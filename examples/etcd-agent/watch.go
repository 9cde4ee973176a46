package main

import (
	"context"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const loadLimit = 10 * time.Second

// load reads all keys.
func load(ctx context.Context, client *clientv3.Client, keys schema) (*mirror, int64, error) {
	ctx, cancel := context.WithTimeout(ctx, loadLimit)
	defer cancel()
	answer, err := client.Get(ctx, keys.prefix+"/", clientv3.WithPrefix())
	if err != nil {
		return nil, 0, err
	}
	entries := map[string]entry{}
	for _, pair := range answer.Kvs {
		entries[string(pair.Key)] = entry{pair.Value, pair.ModRevision}
	}
	// What is missing is known to be missing from now on, and not from when the request was sent.
	return newMirror(keys, entries, answer.Header.Revision, bootTime()), answer.Header.Revision, nil
}

// follow hands on a view of all keys, and a new one after every change, until the context ends or the watch
// breaks. Whoever begins anew then does so with a new load, because it cannot know what it has missed.
func follow(ctx context.Context, client *clientv3.Client, keys schema, each func(view)) error {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	all, revision, err := load(ctx, client, keys)
	if err != nil {
		return err
	}
	each(all.view())
	for answer := range client.Watch(ctx, keys.prefix+"/", clientv3.WithPrefix(), clientv3.WithRev(revision+1)) {
		if err := answer.Err(); err != nil {
			return err
		}
		for _, event := range answer.Events {
			var value []byte
			if event.Type == clientv3.EventTypePut {
				value = append([]byte{}, event.Kv.Value...)
			}
			all.put(string(event.Kv.Key), value, event.Kv.ModRevision, bootTime())
		}
		if len(answer.Events) > 0 {
			each(all.view())
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("etcd has ended the watch")
}
