// Etcd-agent keeps the guests of a few nodes as keys of etcd want them: NICs and disks come and go while
// guests run, guests move by live migration, and guests of a node that is gone start elsewhere. README.md has
// the keys, and the argument why no guest runs twice.
//
//	etcd-agent agent -node n1 -address 192.0.2.1 -records /srv/kvm/records   the agent of a node
//	etcd-agent set GUEST <spec.json                                          makes a guest, or changes it
//	etcd-agent set GUEST DEVICE <device.json                                 and a NIC or disk of it
//	etcd-agent delete GUEST [DEVICE]
//	etcd-agent status [-json]                                                what there is, and what became of it
//	etcd-agent web -listen 127.0.0.1:8080                                    the same as a page, with the slots
//
// All but the guard, which the agent starts for each QEMU, take -endpoints and -prefix.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

const defaultDir = "/run/etcd-agent"

const usage = "usage: etcd-agent agent | set | delete | status | web [-help] [ARGUMENT...]"

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := run(ctx, os.Args[1], os.Args[2:])
	stop()
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "etcd-agent:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, command string, arguments []string) error {
	switch command {
	case "agent":
		return agentMain(ctx, arguments)
	case "guard":
		return guardMain(arguments)
	case "set":
		return setMain(ctx, arguments)
	case "delete":
		return deleteMain(ctx, arguments)
	case "status":
		return statusMain(ctx, arguments)
	case "web":
		return webMain(ctx, arguments)
	}
	return fmt.Errorf("there is no command %q; %s", command, usage)
}

// options are those that all commands have.
type options struct {
	*flag.FlagSet
	endpoints, prefix string
	certificates      transport.TLSInfo
}

func newOptions(command string) *options {
	made := &options{FlagSet: flag.NewFlagSet(command, flag.ExitOnError)}
	made.StringVar(&made.endpoints, "endpoints", "127.0.0.1:2379", "addresses of etcd, with commas between them")
	made.StringVar(&made.prefix, "prefix", "/kvm", "what all keys begin with")
	made.StringVar(&made.certificates.TrustedCAFile, "cacert", "", "file of the certificates that etcd's is to be signed with; TLS with that")
	made.StringVar(&made.certificates.CertFile, "cert", "", "file of this client's certificate")
	made.StringVar(&made.certificates.KeyFile, "key", "", "file of the key of that")
	return made
}

// parse checks how many arguments there are behind the flags.
func (o *options) parse(arguments []string, least, most int) error {
	_ = o.Parse(arguments)
	if o.NArg() < least || o.NArg() > most {
		return fmt.Errorf("%s takes %d to %d arguments besides its flags", o.Name(), least, most)
	}
	return nil
}

func (o *options) connect() (*clientv3.Client, schema, error) {
	var secure *tls.Config
	if !o.certificates.Empty() || o.certificates.TrustedCAFile != "" {
		var err error
		if secure, err = o.certificates.ClientConfig(); err != nil {
			return nil, schema{}, err
		}
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints: strings.Split(o.endpoints, ","), TLS: secure, DialTimeout: 5 * time.Second,
		DialKeepAliveTime: 2 * time.Second, DialKeepAliveTimeout: 2 * time.Second,
		// The agent says itself what fails.
		Logger: zap.NewNop(),
	})
	return client, schema{strings.TrimSuffix(o.prefix, "/")}, err
}

func agentMain(ctx context.Context, arguments []string) error {
	made := agent{}
	flags := newOptions("agent")
	flags.StringVar(&made.node, "node", "", "name of this node")
	flags.StringVar(&made.info.Address, "address", "", "where migrations to this node come in: an IP address")
	flags.StringVar(&made.dir, "dir", defaultDir, "directory of this node's own, with the same path on every node")
	flags.StringVar(&made.records, "records", "", "directory that all nodes share, for the records")
	flags.DurationVar(&made.times.ttl, "ttl", 10*time.Second, "how long a lease is, in whole seconds")
	flags.DurationVar(&made.times.grace, "grace", 10*time.Second, "how much longer guests run without a renewal of the lease")
	flags.DurationVar(&made.times.margin, "margin", 3*time.Second, "how much longer other nodes wait before they take guests")
	flags.TextVar(&made.level, "level", slog.LevelInfo, "log lines of this level and above: debug, info, warn, error")
	if err := flags.parse(arguments, 0, 0); err != nil {
		return err
	}
	if err := checkName("-node", made.node); err != nil {
		return err
	}
	if made.records == "" || made.info.Address == "" {
		return errors.New("the agent needs -records and -address")
	}
	if made.times.ttl < time.Second || made.times.ttl%time.Second != 0 || made.times.grace < 0 || made.times.margin < time.Second {
		return errors.New("-ttl is in whole seconds, -grace not negative, -margin 1s or more")
	}
	if err := os.MkdirAll(made.dir, 0o700); err != nil {
		return err
	}
	client, keys, err := flags.connect()
	if err != nil {
		return err
	}
	defer client.Close()
	made.client, made.keys = client, keys
	made.logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: made.level})).With("node", made.node)
	return made.run(ctx)
}

// writeLimit is for commands that ask etcd once.
const writeLimit = 10 * time.Second

func setMain(ctx context.Context, arguments []string) error {
	flags := newOptions("set")
	if err := flags.parse(arguments, 1, 2); err != nil {
		return err
	}
	value, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	client, keys, err := flags.connect()
	if err != nil {
		return err
	}
	defer client.Close()
	key, err := keyToSet(keys, flags.Args(), value)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, writeLimit)
	defer cancel()
	answer, err := client.Put(ctx, key, string(value))
	if err == nil {
		fmt.Println("revision", answer.Header.Revision)
	}
	return err
}

// keyToSet is where the value belongs, if it is one.
func keyToSet(keys schema, names []string, value []byte) (string, error) {
	if err := checkName("the guest", names[0]); err != nil {
		return "", err
	}
	if len(names) == 1 {
		var spec Spec
		if err := decode(value, &spec); err != nil {
			return "", fmt.Errorf("the guest on standard input: %w", err)
		}
		return keys.guest(names[0], specPart), spec.check()
	}
	if err := checkName("the device", names[1]); err != nil {
		return "", err
	}
	if _, err := wantedDevice(names[1], value); err != nil {
		return "", fmt.Errorf("the device on standard input: %w", err)
	}
	return keys.device(names[0], names[1]), nil
}

func deleteMain(ctx context.Context, arguments []string) error {
	flags := newOptions("delete")
	if err := flags.parse(arguments, 1, 2); err != nil {
		return err
	}
	client, keys, err := flags.connect()
	if err != nil {
		return err
	}
	defer client.Close()
	name := flags.Arg(0)
	operations := []clientv3.Op{
		clientv3.OpDelete(keys.guest(name, specPart)), clientv3.OpDelete(keys.device(name, ""), clientv3.WithPrefix()),
	}
	if flags.NArg() == 2 {
		operations = []clientv3.Op{clientv3.OpDelete(keys.device(name, flags.Arg(1)))}
	}
	ctx, cancel := context.WithTimeout(ctx, writeLimit)
	defer cancel()
	answer, err := client.Txn(ctx).Then(operations...).Commit()
	if err == nil && answer.Responses[0].GetResponseDeleteRange().Deleted == 0 {
		err = fmt.Errorf("there is no %s", strings.Join(flags.Args(), "/"))
	}
	if err == nil {
		fmt.Println("revision", answer.Header.Revision)
	}
	return err
}
