"""Nodes in namespaces of one machine: an overlay of one Debian root each, and a network that the host does not
see. What they need is below one folder; `Nodes.down()` leaves nothing of it but the root."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent.parent
BUILD = PROJECT / "build" / "cluster"
NETWORK = "10.77.0"
CLUSTER = "gnt.lab"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# What a node has beside a minimal Debian.
PACKAGES = (
    "ganeti,ganeti-testsuite,ganeti-os-noop,qemu-system-x86,qemu-utils,openssh-server,iproute2,iputils-ping,"
    "procps,socat,python3,ca-certificates,bridge-utils,kmod,psmisc"
)


def say(text):
    print(f"cluster: {text}", flush=True)


def run(*command, **options):
    """Runs a command, and fails with what it said."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def until(so, seconds, what):
    end = time.monotonic() + seconds
    while not so():
        if time.monotonic() > end:
            raise RuntimeError(f"not within {seconds} s: {what}")
        time.sleep(0.1)


class Nodes:
    """A number of nodes of one Debian suite."""

    def __init__(self, suite, count=2):
        self.suite, self.count = suite, count
        self.base, self.folder = BUILD / f"base-{suite}", BUILD / f"run-{suite}"
        self.pids = {}
        self._started = []

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
        if self.folder.exists():
            raise RuntimeError(f"{self.folder} is there: an earlier run was not taken down")
        (self.folder / "shared").mkdir(parents=True)
        switch = subprocess.Popen(["unshare", "--net", "sleep", "infinity"], stdin=subprocess.DEVNULL)
        self._started.append(switch)
        own = os.readlink("/proc/self/ns/net")
        until(lambda: os.readlink(f"/proc/{switch.pid}/ns/net") != own, 10, "a network namespace")
        self._switch = str(switch.pid)
        self._in_switch("ip", "link", "add", "sw0", "type", "bridge")
        self._in_switch("ip", "link", "set", "sw0", "up")
        key = self.folder / "key"
        run("ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", str(key))
        for number in range(1, self.count + 1):
            self._start(number, key, library, guest)
        for number in range(1, self.count + 1):
            ready = ["test", "-e", "/run/node-ready"]
            until(lambda: self.attempt(number, *ready).returncode == 0, 20, f"node {number} is up")

    def _in_switch(self, *command):
        run("nsenter", "-t", self._switch, "-n", *command)

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
        hosts += [f"{NETWORK}.1{n} n{n}.lab n{n}" for n in range(1, self.count + 1)]
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
            outer = subprocess.Popen(
                ["unshare", "--mount", "--uts", "--net", "--pid", "--fork", "--kill-child", str(HERE / "node"),
                 str(number), str(merged), NETWORK, str(self.folder / "shared")],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )
        self._started.append(outer)
        children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
        until(lambda: children.read_text().strip(), 10, f"process 1 of node {number}")
        self.pids[number] = children.read_text().split()[0]
        port = f"port{number}"
        self._in_switch("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", self.pids[number])
        self._in_switch("ip", "link", "set", port, "master", "sw0")
        self._in_switch("ip", "link", "set", port, "up")

    def _command(self, number, command):
        enter = ["nsenter", "--target", self.pids[number], "--mount", "--uts", "--net", "--pid", "--root", "--wdns=/"]
        clean = ["env", "-i", f"PATH={PATH}", "HOME=/root", "LC_ALL=C", "TERM=dumb"]
        return enter + clean + list(command)

    def attempt(self, number, *command, **options):
        """Runs a command as root in a node."""
        options.setdefault("stdin", subprocess.DEVNULL if "input" not in options else None)
        if options["stdin"] is None:
            del options["stdin"]
        return subprocess.run(
            self._command(number, command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
            **options,
        )

    def do(self, number, *command, **options):
        """The same, and it has to succeed. Returns what it said."""
        done = self.attempt(number, *command, **options)
        if done.returncode != 0:
            raise RuntimeError(f"node {number}: {' '.join(command)} ended with {done.returncode}:\n{done.stdout}")
        return done.stdout

    def write(self, number, path, text):
        self.do(number, "sh", "-c", f"cat >{path}", input=text)

    def everywhere(self):
        return range(1, self.count + 1)

    def down(self):
        """Ends all of it, also what is half up."""
        for pid in self.pids.values():
            # Process 1: with it goes everything in the node.
            _kill(int(pid), signal.SIGKILL)
        for process in reversed(self._started):
            process.kill()
            process.wait()
        for number in self.everywhere():
            merged = self.folder / f"n{number}" / "merged"
            for _ in range(100):
                if not os.path.ismount(merged):
                    break
                subprocess.run(["umount", str(merged)], stderr=subprocess.DEVNULL, check=False)
                time.sleep(0.1)
            if os.path.ismount(merged):
                raise RuntimeError(f"{merged} is still mounted")
        self.pids, self._started = {}, []
        shutil.rmtree(self.folder, ignore_errors=True)


def _kill(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
