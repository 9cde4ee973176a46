"""Sources of disks that are common, made of their parts."""

from __future__ import annotations

import ctypes
import json
from dataclasses import dataclass
from typing import Any, Dict, Optional

from . import _abi
from ._arguments import Text, number, optional
from ._library import checked, library, text_of


def _made(parts: _abi.kvm_hotplug_source) -> Dict[str, Any]:
    def call(text: Any) -> int:
        size = ctypes.sizeof(parts)
        return checked(library().kvm_hotplug_source_json, ctypes.byref(parts), size, text)

    source: Dict[str, Any] = json.loads(text_of(call)[1] or "{}")
    return source


@dataclass
class NBD:
    """An export of a server of network block devices."""

    #: Absolute path of the server's Unix socket.
    socket: Optional[Text] = None
    #: The server's host instead, over TCP, and its port; 0 means 10809.
    host: Optional[str] = None
    port: int = 0
    #: Name of the export; None for the server's default.
    export: Optional[str] = None
    #: Name in the tls_creds of the Disk of what encrypts the connection; None for none.
    tls_creds: Optional[str] = None
    #: Name that the server's certificate has to have; None for that of host. Not in QEMU 5.2.
    tls_hostname: Optional[str] = None
    #: For how many seconds requests wait for a lost server to come back; 0 for not at all.
    reconnect_delay: int = 0
    #: For how many seconds QEMU tries to connect at first; 0 for once. Not in QEMU 5.2.
    open_timeout: int = 0

    def source(self) -> Dict[str, Any]:
        """The source of a Disk."""
        return _made(
            _abi.kvm_hotplug_source(
                nbd_socket=optional("socket", self.socket),
                nbd_host=optional("host", self.host),
                nbd_port=number("port", self.port),
                nbd_export=optional("export", self.export),
                nbd_tls_creds=optional("tls_creds", self.tls_creds),
                nbd_tls_hostname=optional("tls_hostname", self.tls_hostname),
                nbd_reconnect_delay=number("reconnect_delay", self.reconnect_delay),
                nbd_open_timeout=number("open_timeout", self.open_timeout),
            )
        )


@dataclass
class RBD:
    """An image in Ceph."""

    pool: str
    image: str
    #: Namespace in the pool; None for none.
    namespace: Optional[str] = None
    #: Snapshot of the image, which can only be read; None for none.
    snapshot: Optional[str] = None
    #: The user, as in "admin" for client.admin; None for Ceph's default.
    user: Optional[str] = None
    #: Absolute path of the configuration, which QEMU reads; None for Ceph's default.
    conf: Optional[Text] = None
    #: Name in the secrets of the Disk of the user's key, of which a keyring has the base64; None for Ceph's
    #: keyring.
    key_secret: Optional[str] = None

    def source(self) -> Dict[str, Any]:
        """The source of a Disk."""
        return _made(
            _abi.kvm_hotplug_source(
                rbd_pool=optional("pool", self.pool),
                rbd_image=optional("image", self.image),
                rbd_namespace=optional("namespace", self.namespace),
                rbd_snapshot=optional("snapshot", self.snapshot),
                rbd_user=optional("user", self.user),
                rbd_conf=optional("conf", self.conf),
                rbd_key_secret=optional("key_secret", self.key_secret),
            )
        )


@dataclass
class LUKS:
    """An encrypted image or block device."""

    #: Absolute path of it.
    path: Text
    #: Name in the secrets of the Disk of its passphrase.
    key_secret: str

    def source(self) -> Dict[str, Any]:
        """The source of a Disk."""
        return _made(
            _abi.kvm_hotplug_source(
                luks_path=optional("path", self.path),
                luks_key_secret=optional("key_secret", self.key_secret),
            )
        )
