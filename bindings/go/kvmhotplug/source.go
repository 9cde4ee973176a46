package kvmhotplug

// #include <stdlib.h>
// #include <kvm_hotplug.h>
import "C"

import "encoding/json"

// NBD is an export of a server of network block devices.
type NBD struct {
	// Socket is the absolute path of the server's Unix socket.
	Socket string
	// Host is the server's instead, over TCP, and Port its port; 0 means 10809.
	Host string
	Port int
	// Export is its name; empty for the server's default.
	Export string
	// TLSCreds is the name in [Disk.TLSCreds] of what encrypts the connection; empty for none.
	TLSCreds string
	// TLSHostname is the name that the server's certificate has to have; empty for Host. Not in QEMU 5.2.
	TLSHostname string
	// ReconnectDelay is for how many seconds requests wait for a lost server to come back; 0 for not at all.
	ReconnectDelay int
	// OpenTimeout is for how many seconds QEMU tries to connect at first; 0 for once. Not in QEMU 5.2.
	OpenTimeout int
}

// RBD is an image in Ceph.
type RBD struct {
	Pool, Image string
	// Namespace in the pool, and Snapshot of the image, which can only be read; empty for none.
	Namespace, Snapshot string
	// User, as in "admin" for client.admin, and Conf, the absolute path of the configuration, which QEMU reads; empty for
	// Ceph's defaults.
	User, Conf string
	// KeySecret is the name in [Disk.Secrets] of the user's key, of which a keyring has the base64; empty for Ceph's keyring.
	KeySecret string
}

// LUKS is an encrypted image or block device.
type LUKS struct {
	// Path is its absolute path.
	Path string
	// KeySecret is the name in [Disk.Secrets] of its passphrase.
	KeySecret string
}

// Source is the one of [Disk].
func (n NBD) Source() (json.RawMessage, error) {
	var memory arena
	defer memory.free()
	return memory.source(C.struct_kvm_hotplug_source{
		nbd_socket:          memory.optional("the socket", n.Socket),
		nbd_host:            memory.optional("the host", n.Host),
		nbd_port:            memory.number("Port", n.Port),
		nbd_export:          memory.optional("the export", n.Export),
		nbd_tls_creds:       memory.optional("TLSCreds", n.TLSCreds),
		nbd_tls_hostname:    memory.optional("TLSHostname", n.TLSHostname),
		nbd_reconnect_delay: memory.number("ReconnectDelay", n.ReconnectDelay),
		nbd_open_timeout:    memory.number("OpenTimeout", n.OpenTimeout),
	})
}

// Source is the one of [Disk].
func (r RBD) Source() (json.RawMessage, error) {
	var memory arena
	defer memory.free()
	return memory.source(C.struct_kvm_hotplug_source{
		rbd_pool:       memory.optional("the pool", r.Pool),
		rbd_image:      memory.optional("the image", r.Image),
		rbd_namespace:  memory.optional("the namespace", r.Namespace),
		rbd_snapshot:   memory.optional("the snapshot", r.Snapshot),
		rbd_user:       memory.optional("the user", r.User),
		rbd_conf:       memory.optional("Conf", r.Conf),
		rbd_key_secret: memory.optional("KeySecret", r.KeySecret),
	})
}

// Source is the one of [Disk].
func (l LUKS) Source() (json.RawMessage, error) {
	var memory arena
	defer memory.free()
	return memory.source(C.struct_kvm_hotplug_source{
		luks_path:       memory.optional("the path", l.Path),
		luks_key_secret: memory.optional("KeySecret", l.KeySecret),
	})
}

func (a *arena) source(parts C.struct_kvm_hotplug_source) (json.RawMessage, error) {
	if a.err != nil {
		return nil, a.err
	}
	var text *C.char
	var failure *C.struct_kvm_hotplug_error
	if code := C.kvm_hotplug_source_json(&parts, C.sizeof_struct_kvm_hotplug_source, &text, &failure); code < 0 {
		return nil, takeError(failure, code)
	}
	defer C.kvm_hotplug_text_free(text)
	return json.RawMessage(C.GoString(text)), nil
}
