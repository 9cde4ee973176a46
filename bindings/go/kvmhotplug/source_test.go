package kvmhotplug_test

import (
	"encoding/json"
	"strings"
	"testing"

	"example.org/kvm-hotplug/bindings/go/kvmhotplug"
)

type described interface {
	Source() (json.RawMessage, error)
}

func TestCommonSources(t *testing.T) {
	for _, row := range []struct {
		parts described
		want  string
	}{
		{
			kvmhotplug.NBD{Socket: "/run/a", Export: "x", ReconnectDelay: 5},
			`{"driver":"nbd","export":"x","reconnect-delay":5,"server":{"path":"/run/a","type":"unix"}}`,
		},
		{
			kvmhotplug.NBD{Host: "::1", Port: 7, TLSCreds: "t", TLSHostname: "h", OpenTimeout: 3},
			`{"driver":"nbd","open-timeout":3,"server":{"host":"::1","port":"7","type":"inet"},"tls-creds":"t","tls-hostname":"h"}`,
		},
		{
			kvmhotplug.RBD{Pool: "p", Image: "i", Namespace: "n", Snapshot: "s", User: "u", Conf: "/c", KeySecret: "k"},
			`{"conf":"/c","driver":"rbd","image":"i","key-secret":"k","namespace":"n","pool":"p","snapshot":"s","user":"u"}`,
		},
		{
			kvmhotplug.LUKS{Path: "/srv/a", KeySecret: "key"},
			`{"driver":"luks","file":{"driver":"file","filename":"/srv/a"},"key-secret":"key"}`,
		},
	} {
		made, err := row.parts.Source()
		if err != nil || string(made) != row.want {
			t.Errorf("%+v: %s, %v", row.parts, made, err)
		}
	}
	if _, err := (kvmhotplug.NBD{}).Source(); err == nil {
		t.Error("a source of nothing was made")
	}
}

func TestDiskWithSecret(t *testing.T) {
	qemu := startQEMU(t, "pc")
	guest := open(t, qemu.socket)
	disk := kvmhotplug.Disk{
		ID:      "data",
		Source:  json.RawMessage(`{"driver":"nbd","server":{"type":"inet","host":"storage","port":"1"},"tls-creds":"tls"}`),
		Secrets: map[string][]byte{"password": []byte("sesame")},
		TLSCreds: map[string]any{
			"tls": map[string]any{"qom-type": "tls-creds-x509", "dir": "/keys", "passwordid": "password"},
		},
	}
	// The secret has been taken by then.
	if _, err := guest.AddDisk(within(t, patience), disk); err == nil || !strings.Contains(err.Error(), "/keys/ca-cert.pem") {
		t.Errorf("credentials that are not there: %v", err)
	}
	disk.Secrets = map[string][]byte{"password": nil}
	if _, err := guest.AddDisk(within(t, patience), disk); err == nil || !strings.Contains(err.Error(), "the secret is empty") {
		t.Errorf("an empty secret: %v", err)
	}
}

func TestDiskWithSource(t *testing.T) {
	guest := open(t, startQEMU(t, "pc").socket)
	source := json.RawMessage(`{"driver":"null-co","size":1048576}`)
	added, err := guest.AddDisk(within(t, patience), kvmhotplug.Disk{ID: "data", Source: source})
	ok(t, err)
	if want := "json:" + string(source); added.Device.Path != want {
		t.Errorf("the path is %q, not %q", added.Device.Path, want)
	}
}
