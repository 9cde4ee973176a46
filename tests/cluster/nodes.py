"""Nodes that each have a Debian of their own: an overlay of one root. `Nodes.down()` leaves nothing but that root."""

import os
import shutil
import subprocess
import time

from network import BUILD, HERE, PROJECT, Network, run, say, until

__all__ = ["BUILD", "CLUSTER", "HERE", "PROJECT", "Nodes", "run", "say", "until"]

NETWORK = "10.77.0"
CLUSTER = "gnt.lab"

# What a node has beside a minimal Debian.
PACKAGES = (
    "ganeti,ganeti-testsuite,ganeti-os-noop,qemu-system-x86,qemu-utils,openssh-server,iproute2,iputils-ping,"
    "procps,socat,python3,ca-certificates,bridge-utils,kmod,psmisc"
)


class Nodes(Network):
    """A number of nodes of one Debian suite."""

    ENTER = ("--mount", "--uts", "--net", "--pid", "--root", "--wdns=/")

    def __init__(self, suite, count=2):
        super().__init__(BUILD / f"run-{suite}", count)
        self.suite, self.base = suite, BUILD / f"base-{suite}"

    def make_base(self):
        """The root that all nodes share, made once: about a minute, and 620 MB."""
        complete = self.base.with_suffix(".complete")
        if complete.exists() and complete.read_text() == PACKAGES:
            return
        say(f"making a root of Debian {self.suite} with Ganeti and QEMU")
        shutil.rmtree(self.base, ignore_errors=True)
        BUILD.mkdir(parents=True, exist_ok=True)
        run(
            "mmdebstrap", "--variant=apt", "--components=main", "--aptopt=APT::Install-Recommends \"false\"",
            f"--include={PACKAGES}", self.suite, str(self.base),
        )
        complete.write_text(PACKAGES)

    def up(self, library, guest):
        """Starts them. `library` and `guest` are copied into each."""
        self.make_base()
        self.make_switch()
        (self.folder / "shared").mkdir(parents=True)
        key = self.folder / "key"
        run("ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", str(key))
        for number in self.everywhere():
            self._start(number, key, library, guest)
        self.await_nodes()

    def _start(self, number, key, library, guest):
        folder = self.folder / f"n{number}"
        upper, merged = folder / "upper", folder / "merged"
        for part in ("work", "merged"):
            (folder / part).mkdir(parents=True)
        for part in ("root/.ssh", "etc/ganeti", "etc/ssh", "srv/guest", "usr/local/lib", "srv/ganeti/file-storage"):
            (upper / part).mkdir(parents=True)
        ssh = upper / "root/.ssh"
        ssh.chmod(0o700)
        # One key for all nodes to begin with; Ganeti replaces it.
        for source, name in ((key, "id_rsa"), (f"{key}.pub", "id_rsa.pub"), (f"{key}.pub", "authorized_keys")):
            shutil.copy(source, ssh / name)
        (ssh / "config").write_text("StrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nLogLevel ERROR\n")
        hosts = ["127.0.0.1 localhost", f"{NETWORK}.10 {CLUSTER} gnt"]
        hosts += [f"{NETWORK}.1{n} n{n}.lab n{n}" for n in self.everywhere()]
        hosts += [f"{NETWORK}.2{n} web{n}.lab web{n}" for n in range(1, 10)]
        (upper / "etc/hosts").write_text("\n".join(hosts) + "\n")
        (upper / "etc/hostname").write_text(f"n{number}.lab\n")
        storage = "/srv/ganeti/file-storage\n/srv/ganeti/shared-file-storage\n"
        (upper / "etc/ganeti/file-storage-paths").write_text(storage)
        for name in ("kernel", "initramfs"):
            shutil.copy(guest / name, upper / "srv/guest" / name)
        shutil.copy(library, upper / "usr/local/lib/libkvm_hotplug.so.0")
        layers = f"lowerdir={self.base},upperdir={upper},workdir={folder / 'work'}"
        run("mount", "-t", "overlay", "overlay", "-o", layers, str(merged))
        with open(folder / "log", "w", encoding="utf-8") as log:
            self.start_node(
                number, "unshare", "--mount", "--uts", "--net", "--pid", "--fork", "--kill-child", str(HERE / "node"),
                str(number), str(merged), NETWORK, str(self.folder / "shared"), stdout=log, stderr=log,
            )

    def down(self):
        """Ends all of it, also what is half up."""
        self.end()
        for number in self.everywhere():
            merged = self.folder / f"n{number}" / "merged"
            for _ in range(100):
                if not os.path.ismount(merged):
                    break
                subprocess.run(["umount", str(merged)], stderr=subprocess.DEVNULL, check=False)
                time.sleep(0.1)
            if os.path.ismount(merged):
                raise RuntimeError(f"{merged} is still mounted")
        super().down()
