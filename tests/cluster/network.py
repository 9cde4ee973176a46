"""Nodes in namespaces of one machine, with a switch between them that the host does not see. What they need is below one
folder; `Network.down()` leaves nothing of it."""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent.parent
BUILD = PROJECT / "build" / "cluster"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PR_SET_PDEATHSIG = 1
END_SECONDS = 10


def say(text):
    print(f"cluster: {text}", flush=True)


def expect(found, wanted, what):
    if found != wanted:
        raise AssertionError(f"{what}: {found}, and not {wanted}")


@contextlib.contextmanager
def timed(what):
    begin = time.monotonic()
    say(what)
    yield
    say(f"{what}: {time.monotonic() - begin:.0f} s")


def run(*command, **options):
    """Runs a command, and fails with what it said."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def until(so, seconds, what):
    """Waits for it. `what` is a text, or makes one when it is over."""
    end = time.monotonic() + seconds
    while not so():
        if time.monotonic() > end:
            raise RuntimeError(f"not within {seconds} s: {what() if callable(what) else what}")
        time.sleep(0.1)


def _end_with_us():
    """For a child: it ends when this process does, however that ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Network:
    """A number of nodes, each with one port at a switch."""

    # Of the namespaces of a node, those that a command enters.
    ENTER = ("--mount", "--uts", "--net", "--pid")

    def __init__(self, folder, count):
        self.folder, self.count = folder, count
        self.pids, self._outer = {}, {}
        self._started = []
        self._switch = None

    def start(self, *command, **options):
        """Starts a process that `down` ends."""
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=_end_with_us, **options)
        self._started.append(process)
        return process

    def make_switch(self):
        if self.folder.exists():
            raise RuntimeError(
                f"{self.folder} is there: another run is under way, or one was killed; delete the folder then"
            )
        self.folder.mkdir(parents=True)
        switch = self.start("unshare", "--net", "sleep", "infinity")
        own = os.readlink("/proc/self/ns/net")
        until(lambda: os.readlink(f"/proc/{switch.pid}/ns/net") != own, 10, "a network namespace")
        self._switch = str(switch.pid)
        self.in_switch("ip", "link", "add", "sw0", "type", "bridge")
        self.in_switch("ip", "link", "set", "sw0", "up")

    def switch_command(self, *command):
        return ["nsenter", "-t", self._switch, "-n", *command]

    def in_switch(self, *command):
        return run(*self.switch_command(*command))

    def start_node(self, number, *command, **options):
        """Starts process 1 of a node, and lays its cable, eth0 there."""
        outer = self._outer[number] = self.start(*command, **options)
        children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
        until(lambda: children.read_text().strip(), 10, f"process 1 of node {number}")
        self.pids[number] = children.read_text().split()[0]
        port = f"port{number}"
        self.in_switch("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", self.pids[number])
        self.in_switch("ip", "link", "set", port, "master", "sw0")
        self.in_switch("ip", "link", "set", port, "up")

    def await_nodes(self):
        for number in self.everywhere():
            ready = ["test", "-e", "/run/node-ready"]
            until(lambda: self.attempt(number, *ready).returncode == 0, 20, f"node {number} is up")

    def command(self, number, *command):
        """The command that runs a command as root in a node."""
        enter = ["nsenter", "--target", self.pids[number], *self.ENTER]
        clean = ["env", "-i", f"PATH={PATH}", "HOME=/root", "LC_ALL=C", "TERM=dumb"]
        return enter + clean + list(command)

    def attempt(self, number, *command, **options):
        """Runs a command as root in a node."""
        options.setdefault("stdin", subprocess.DEVNULL if "input" not in options else None)
        if options["stdin"] is None:
            del options["stdin"]
        return subprocess.run(
            self.command(number, *command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
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

    def end(self):
        """Ends all processes, also of what is half up."""
        for number, pid in self.pids.items():
            # Process 1: with it goes everything in the node, and then the process that made the node.
            _kill(int(pid), signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._outer[number].wait(END_SECONDS)
        for process in reversed(self._started):
            process.kill()
            process.wait()
        self.pids, self._outer, self._started = {}, {}, []

    def down(self):
        self.end()
        shutil.rmtree(self.folder, ignore_errors=True)


def _kill(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
