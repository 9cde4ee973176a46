"""Agents of examples/etcd-agent on three nodes in namespaces of this machine, with a real etcd, QEMU emulating.

Wanted devices arrive in a guest, are changed and leave; a removal that is not granted is shown; an agent dies in the middle of an
add, with another at its side and without; a guest migrates, and stays where it is if that fails; a node is cut off. Guests say
themselves what they have, and no guest is ever seen to run twice. `tests/run cluster etcd` builds what it needs."""

import contextlib
import json
import os
import re
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

from network import BUILD, HERE, PROJECT, Network, expect, run, say, timed, until

NETWORK = "10.78.0"
ENDPOINT = f"{NETWORK}.1:2379"
GUEST = PROJECT / "build/guest"
AGENT = BUILD / "etcd-agent"
TESTS = BUILD / "etcd-agent.test"
ETCD = BUILD / "etcd/etcd"
DIR = "/run/etcd-agent"
KILL_ORDER = "/run/kvm-hotplug-kill"
TTL, GRACE, MARGIN = 3, 4, 2
# Only guards against hangs: Linux lets go of nothing while it boots, and other tests may run on this machine.
PATIENCE = 120
PAGE_PORT = 8080


class Cluster(Network):
    """A switch with an etcd at it, and nodes with agents."""

    def __init__(self):
        super().__init__(BUILD / "run-etcd", 3)
        self.namespaces, self.agents = set(), {}

    def up(self):
        self.make_switch()
        for part in ("images", "records"):
            (self.folder / part).mkdir()
        self.in_switch("ip", "addr", "add", f"{NETWORK}.1/24", "dev", "sw0")
        self.in_switch("ip", "link", "set", "lo", "up")
        with open(self.folder / "etcd.log", "w", encoding="utf-8") as log:
            self.start(*self.switch_command(
                str(ETCD), "--data-dir", str(self.folder / "etcd"), "--unsafe-no-fsync", "--log-level", "warn",
                "--listen-client-urls", f"http://{ENDPOINT}", "--advertise-client-urls", f"http://{ENDPOINT}",
                "--listen-peer-urls", "http://127.0.0.1:2380",
            ), stdout=log, stderr=log)
        for number in self.everywhere():
            with open(self.folder / f"node{number}.log", "w", encoding="utf-8") as log:
                self.start_node(
                    number, "unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", str(HERE / "etcd-node"),
                    str(number), NETWORK, stdout=log, stderr=log,
                )
        self.await_nodes()
        run("cc", "-shared", "-fPIC", "-Wall", "-Werror", "-O2", "-o", str(self.folder / "kill-at.so"),
            str(HERE / "kill-at.c"), "-ldl")
        for process in (self._switch, *self.pids.values()):
            self.namespaces.add(os.readlink(f"/proc/{process}/ns/net"))
        until(lambda: self.cli("status", check=False) is not None, 30, "etcd answers")

    def start_agent(self, number):
        """Starts an agent; a second one of a node stands by."""
        log = open(self.folder / f"agent{number}.log", "a", encoding="utf-8")
        with log:
            # A shell between, which the preload ends in the place of whoever starts the agent.
            command = self.command(
                number, "env", f"LD_PRELOAD={self.folder}/kill-at.so", f"LD_LIBRARY_PATH={os.environ['LD_LIBRARY_PATH']}",
                "bash", "-c", '"$@"; exit', "-", str(AGENT), "agent", "-endpoints", ENDPOINT, "-node", f"n{number}",
                "-address", f"{NETWORK}.1{number}", "-records", str(self.folder / "records"),
                "-ttl", f"{TTL}s", "-grace", f"{GRACE}s", "-margin", f"{MARGIN}s",
            )
            self.agents.setdefault(number, []).append(self.start(*command, stdout=log, stderr=log, start_new_session=True))

    def log(self, number):
        return (self.folder / f"agent{number}.log").read_text()

    def cli(self, command, *arguments, check=True, **options):
        """Runs the agent's program as an administrator does, beside etcd."""
        whole = [str(AGENT), command, "-endpoints", ENDPOINT, *arguments]
        try:
            return run(*self.switch_command(*whole), **options)
        except RuntimeError:
            if check:
                raise
            return None

    def set(self, guest, *device, **value):
        said = self.cli("set", guest, *device, input=json.dumps(value))
        return int(said.split()[1])

    def delete(self, *what):
        return int(self.cli("delete", *what).split()[1])

    def status(self, guest):
        everything = json.loads(self.cli("status", "-json"))
        return next((row for row in everything["guests"] if row["name"] == guest), {})

    def image(self, name):
        path = self.folder / "images" / name
        with open(path, "wb") as file:
            file.truncate(16 << 20)
        return str(path)

    def processes(self):
        """What runs in the nodes and the switch: process id and arguments."""
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                if os.readlink(entry / "ns/net") in self.namespaces:
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        return found

    def qemus(self, guest):
        """The processes that are a QEMU of the guest, with the namespace of each."""
        found = {}
        for pid, arguments in self.processes().items():
            if arguments[0] == "qemu-system-x86_64" and arguments[1:3] == ["-name", guest]:
                with contextlib.suppress(OSError):
                    found[pid] = os.readlink(f"/proc/{pid}/ns/net")
        return found

    def node_of(self, guest):
        """Where its only QEMU is; 0 if there is none."""
        found = list(self.qemus(guest).values())
        if len(found) > 1:
            raise AssertionError(f"{guest} has {len(found)} QEMUs")
        for number, pid in self.pids.items():
            if found == [os.readlink(f"/proc/{pid}/ns/net")]:
                return number
        return 0

    def kill_agents(self, number):
        """As a crash does it: all agents of a node, without a word. Guards and guests stay."""
        own = os.readlink(f"/proc/{self.pids[number]}/ns/net")
        for pid, arguments in self.processes().items():
            if arguments[:2] == [str(AGENT), "agent"]:
                with contextlib.suppress(OSError):
                    if os.readlink(f"/proc/{pid}/ns/net") == own:
                        os.kill(pid, signal.SIGKILL)

    def says(self, guest, number, command, seconds=30):
        script = (HERE / "guest.py").read_text()
        return self.attempt(number, "python3", "-", f"{DIR}/{guest}.serial", str(seconds), command, input=script)

    def asks(self, guest, number, command):
        """What the guest answers; None if it does not."""
        said = self.says(guest, number, command)
        return said.stdout.split() if said.returncode == 0 else None

    def await_answer(self, number, command, wanted, what):
        """Linux takes a moment to see what has come or gone."""
        try:
            until(lambda: self.asks("web1", number, command) == wanted, PATIENCE, what)
        except RuntimeError as error:
            raise RuntimeError(f"{error}: {self.asks('web1', number, command)}, and not {wanted}") from error

    def devices(self, guest, number):
        """Names and places of the guest's own NICs and disks."""
        command = "cd /sys/class; for i in net/e* block/vd*; do echo $i@$(basename $(readlink -f $i/device/..)); done"
        return sorted(line for line in self.asks(guest, number, command) or [] if "*" not in line)

    def await_boot(self, guest, number):
        until(lambda: self.says(guest, number, "true", 1).returncode == 0, PATIENCE, f"{guest} has booted on n{number}")

    def await_done(self, guest, number, revision, ids):
        """The agent has acted on that revision, and these are the devices, all in the guest."""
        def so():
            row = self.status(guest)
            states = {device["id"]: device["state"] for device in row.get("devices") or []}
            return (row.get("node") == f"n{number}" and row["revision"] >= revision
                    and states == {one: "done" for one in ids})
        self.until(so, f"{guest} has {ids} on n{number}", guest)

    def until(self, so, what, guest="web1"):
        try:
            until(so, PATIENCE, what)
        except RuntimeError as error:
            raise RuntimeError(f"{error}; its status: {self.status(guest)}") from error

    def records(self, guest):
        """The files of its record on all nodes, but for the lock of an agent that has it open."""
        found = self.folder.glob(f"records/*/{guest}.*")
        return sorted(str(path.relative_to(self.folder / "records")) for path in found if path.suffix != ".lock")

    def check_settled(self, guest, number, ids):
        """The record is on this node alone, has these devices, and no journal is beside it."""
        expect(self.records(guest), [f"n{number}/{guest}.runtime"], "files of the record")
        record = json.loads((self.folder / f"records/n{number}/{guest}.runtime").read_text())
        text = json.dumps(record)
        for one in ids:
            expect(len(re.findall(f'"id": "{one}"', text)), 1, f"{one} in the record")

    @contextlib.contextmanager
    def never_twice(self, guest):
        """While this lasts, no two QEMUs of the guest are seen."""
        seen, over = [], threading.Event()

        def look():
            while not over.is_set():
                found = self.qemus(guest)
                if len(found) > 1:
                    seen.append(found)
                time.sleep(0.02)

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
        expect((len(seen), seen[:1]), (0, []), f"moments at which {guest} ran twice, and the first of them")

    def cut(self, number, state):
        self.in_switch("ip", "link", "set", f"port{number}", state)

    def nothing_left(self):
        """Processes, and with them the namespaces, which have no names; and mounts."""
        until(lambda: not self.processes(), 10, f"nothing runs in the namespaces: {self.processes()}")
        mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(self.folder) in line]
        expect(mounts, [], "mounts")
        expect(self.folder.exists(), False, f"whether {self.folder} is there")


def linux(node):
    """A guest that boots, and takes commands at its second serial port."""
    append = "quiet panic=-1 no_timer_check cryptomgr.notests"
    return {
        "node": node, "machine": "pc", "memory": 256,
        "options": ["-accel", "tcg", "-kernel", str(GUEST / "kernel"), "-initrd", str(GUEST / "initramfs"), "-append", append,
                    "-serial", "null", "-serial", f"unix:{DIR}/web1.serial,server=on,wait=off"],
    }


def wanted_devices_arrive(cluster):
    cluster.set("web1", "lan", type="nic", bridge="br0")
    cluster.set("web1", "data", type="disk", path=cluster.image("data"), serial="data")
    revision = cluster.set("web1", **linux("n1"))
    cluster.await_done("web1", 1, revision, ["data", "lan"])
    cluster.await_boot("web1", 1)
    expect([one.split("@")[0] for one in cluster.devices("web1", 1)], ["block/vda", "net/eth0"], "the guest's devices")
    cluster.check_settled("web1", 1, ["data", "lan"])


def changes_and_removals_follow(cluster):
    before = cluster.devices("web1", 1)
    revision = cluster.set("web1", "more", type="disk", path=cluster.image("more"), serial="more")
    cluster.await_done("web1", 1, revision, ["data", "lan", "more"])
    cluster.await_answer(1, "cat /sys/block/vdb/serial", ["more"], "the serial of the new disk")
    revision = cluster.set("web1", "lan", type="nic", bridge="br0", link="down")
    cluster.await_done("web1", 1, revision, ["data", "lan", "more"])
    cluster.await_answer(1, "ip link set eth0 up; cat /sys/class/net/eth0/carrier", ["0"], "the carrier")
    revision = cluster.set("web1", "lan", type="nic", bridge="br0")
    cluster.delete("web1", "more")
    cluster.await_done("web1", 1, revision + 1, ["data", "lan"])
    cluster.await_answer(1, "cat /sys/class/net/eth0/carrier", ["1"], "the carrier")
    expect(cluster.devices("web1", 1), before, "the guest's devices")


def what_is_not_granted_is_shown(cluster):
    """A guest without a system lets go of nothing."""
    cluster.set("idle", "data", type="disk", path=cluster.image("idle"))
    revision = cluster.set("idle", node="n2", machine="pc", memory=64, options=["-accel", "tcg"])
    cluster.await_done("idle", 2, revision, ["data"])
    cluster.delete("idle", "data")

    def pending():
        devices = cluster.status("idle").get("devices") or []
        return [device["state"] for device in devices] == ["pending"] and devices[0]["reason"]
    cluster.until(pending, "the removal is pending, with a reason", "idle")
    if not re.search(r"idle +n2.*\n.*data +disk .*pending +\S", cluster.cli("status")):
        raise AssertionError(f"the status does not show it:\n{cluster.cli('status')}")
    revision = cluster.set("idle", "absent", type="disk", path="/nowhere/image")
    cluster.until(lambda: "/nowhere/image" in cluster.status("idle").get("error", ""), "the error is shown", "idle")
    cluster.delete("idle")
    cluster.until(lambda: not cluster.status("idle"), "its keys are gone", "idle")
    expect((cluster.qemus("idle"), cluster.records("idle")), ({}, []), "what is left of a guest that is not wanted")


def kill_while_adding(cluster, number, device, step):
    cluster.write(number, KILL_ORDER, step + "\n")
    revision = cluster.set("web1", device, type="disk", path=cluster.image(device), serial=device)
    until(lambda: cluster.attempt(number, "test", "-e", KILL_ORDER).returncode != 0, PATIENCE, "the agent is killed")
    return revision


def another_takes_over(cluster):
    """The agent dies in the middle of an add. The one that stands by goes on when the lease has ended; the guest
    does not notice."""
    cluster.start_agent(1)
    until(lambda: "stands by" in cluster.log(1), PATIENCE, "an agent stands by")
    cluster.says("web1", 1, "echo alive >/tmp/mark")
    with cluster.never_twice("web1"):
        revision = kill_while_adding(cluster, 1, "late", "record")
        expect("n1/web1.runtime.journal" in cluster.records("web1"), True, "whether the dead agent has left a journal")
        cluster.await_done("web1", 1, revision, ["data", "lan", "late"])
    cluster.check_settled("web1", 1, ["data", "lan", "late"])
    command = "cat /tmp/mark; for i in /sys/block/vd*/serial; do cat $i; echo; done"
    cluster.await_answer(1, command, ["alive", "data", "late"], "the guest's mark and disks")


def migrates(cluster):
    """To a node that cannot have it: it stays. Then that node can."""
    before = cluster.devices("web1", 1)
    cluster.do(2, "ip", "link", "set", "br0", "name", "elsewhere")
    cluster.set("web1", **linux("n2"))
    cluster.until(lambda: "br0" in cluster.status("web1").get("error", ""), "the migration fails for want of a bridge")
    expect(cluster.asks("web1", 1, "cat /tmp/mark"), ["alive"], "the guest's mark, where it was")
    cluster.do(2, "ip", "link", "set", "elsewhere", "name", "br0")
    cluster.await_done("web1", 2, 0, ["data", "lan", "late"])
    cluster.until(lambda: cluster.node_of("web1") == 2, "the source's QEMU is gone")
    expect(cluster.asks("web1", 2, "cat /tmp/mark"), ["alive"], "the guest's mark, where it is now")
    expect(cluster.devices("web1", 2), before, "the guest's devices")
    cluster.until(lambda: len(cluster.records("web1")) == 1, "the source's record is gone")
    cluster.check_settled("web1", 2, ["data", "lan", "late"])
    expect(cluster.status("web1")["error"] if "error" in cluster.status("web1") else "", "", "errors")


def a_node_is_cut_off(cluster):
    """Its guests end there before they start elsewhere. When it is back, the guest comes home."""
    with cluster.never_twice("web1"):
        cluster.cut(2, "down")
        cluster.until(lambda: cluster.node_of("web1") == 0, "the guest has ended where it was")
        cluster.until(lambda: cluster.node_of("web1") in (1, 3), "the guest is started elsewhere")
        number = cluster.node_of("web1")
        cluster.await_done("web1", number, 0, ["data", "lan", "late"])
        cluster.check_settled("web1", number, ["data", "lan", "late"])
        cluster.await_boot("web1", number)
    cluster.says("web1", number, "echo again >/tmp/mark")
    cluster.cut(2, "up")
    cluster.await_done("web1", 2, 0, ["data", "lan", "late"])
    cluster.until(lambda: cluster.node_of("web1") == 2, "the guest is home")
    expect(cluster.asks("web1", 2, "cat /tmp/mark"), ["again"], "the guest's mark, at home")


def a_node_loses_its_agent(cluster):
    """In the middle of an add, and nobody stands by: the guard ends the guest, and another node settles the journal."""
    with cluster.never_twice("web1"):
        revision = kill_while_adding(cluster, 2, "last", "device_add")
        expect("n2/web1.runtime.journal" in cluster.records("web1"), True, "whether the dead agent has left a journal")
        cluster.until(lambda: cluster.node_of("web1") in (1, 3), "the guest is started elsewhere")
        number = cluster.node_of("web1")
        cluster.await_done("web1", number, revision, ["data", "lan", "last", "late"])
    cluster.await_boot("web1", number)
    cluster.check_settled("web1", number, ["data", "lan", "last", "late"])
    command = "for i in data last late; do grep -lx $i /sys/block/vd*/serial | wc -l; done"
    cluster.await_answer(number, command, ["1", "1", "1"], "how often the guest has each disk")
    cluster.start_agent(2)
    cluster.await_done("web1", 2, revision, ["data", "lan", "last", "late"])


def an_agent_dies_in_a_migration(cluster):
    """That of the source, then that of the target, whenever the kill comes. The next one goes on, or takes it back and
    tries again; the guest does not notice."""
    cluster.says("web1", 2, "echo on >/tmp/mark")
    before = cluster.devices("web1", 2)
    for target, killed in ((3, 2), (2, 2)):
        cluster.set("web1", **linux(f"n{target}"))
        cluster.until(lambda: "migrates" in cluster.status("web1")["state"], "the migration begins")
        cluster.kill_agents(killed)
        cluster.start_agent(killed)
        cluster.await_done("web1", target, 0, ["data", "lan", "last", "late"])
        cluster.until(lambda: len(cluster.qemus("web1")) == 1, "the source's QEMU is gone")
        expect(cluster.asks("web1", target, "cat /tmp/mark"), ["on"], f"the guest's mark, with n{killed}'s agent killed")
        expect(cluster.devices("web1", target), before, "the guest's devices")
        cluster.until(lambda: len(cluster.records("web1")) == 1, "the source's record is gone")
        cluster.check_settled("web1", target, ["data", "lan", "last", "late"])


def status_and_page_show_it(cluster):
    table = cluster.cli("status")
    for wanted in (r"n2 +held", r"web1 +n2 +running", r"last +disk +pci\.0 slot \d+ +done"):
        if not re.search(wanted, table):
            raise AssertionError(f"the status has no {wanted}:\n{table}")
    cluster.start(*cluster.switch_command(
        str(AGENT), "web", "-endpoints", ENDPOINT, "-listen", f"{NETWORK}.1:{PAGE_PORT}"))
    page = f"http://{NETWORK}.1:{PAGE_PORT}/"
    until(lambda: "web1" in fetch(cluster, page + "guests.json"), 30, "the page's guests")
    browser = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None)
    if not browser:
        not_run("the page in Chromium", "no chromium here: apt-get install chromium")
        return
    # All its files go there.
    home = cluster.folder / "chromium"
    home.mkdir()
    said = run(*cluster.switch_command(
        "env", f"HOME={home}", f"TMPDIR={home}", "timeout", str(PATIENCE), browser, "--headless", "--no-sandbox",
        "--disable-gpu", "--disable-background-networking", "--virtual-time-budget=3000", "--dump-dom", page))
    slots = {}
    for slot in re.findall(r"<div [^>]*data-slot=[^>]*>", said):
        slots[re.search('data-occupant="([^"]*)"', slot).group(1)] = int(re.search('data-slot="([^"]*)"', slot).group(1))
    wanted = {one["occupant"]: one["slot"] for one in cluster.status("web1")["slots"] if one.get("occupant")}
    expect({name: slot for name, slot in slots.items() if name}, wanted, "the slots in the page")
    expect({"data", "lan", "last", "late"} <= set(slots), True, f"whether the page has the devices: {slots}")


def fetch(cluster, address):
    program = f"import urllib.request; print(urllib.request.urlopen({address!r}).read().decode())"
    try:
        return run(*cluster.switch_command(sys.executable, "-c", program))
    except RuntimeError:
        return ""


def not_run(name, reason):
    with open(os.environ.get("KVM_HOTPLUG_NOT_RUN", PROJECT / "build/not-run"), "a", encoding="utf-8") as file:
        file.write(f"{name}: {reason}\n")
    say(f"NOT RUN: {name}: {reason}")


def claims_are_compared_and_swapped(cluster):
    """The agent's own tests that need an etcd: of two claims one wins, and so on."""
    run(*cluster.switch_command("env", f"ETCD_ENDPOINTS={ENDPOINT}", str(TESTS), "-test.count=1"))


def guests_go(cluster):
    cluster.delete("web1")
    cluster.until(lambda: not cluster.status("web1"), "its keys are gone")
    expect((cluster.qemus("web1"), cluster.records("web1")), ({}, []), "what is left of the guest")


PARTS = [
    claims_are_compared_and_swapped,
    wanted_devices_arrive, changes_and_removals_follow, what_is_not_granted_is_shown, another_takes_over, migrates,
    a_node_is_cut_off, a_node_loses_its_agent, an_agent_dies_in_a_migration,
    status_and_page_show_it, guests_go,
]


def main():
    # Like Ctrl-C: what is there is taken down.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    cluster = Cluster()
    try:
        with timed("etcd and three nodes"):
            cluster.up()
            for number in cluster.everywhere():
                cluster.start_agent(number)
        for part in PARTS:
            with timed(part.__name__.replace("_", " ")):
                part(cluster)
    except BaseException:
        for number in cluster.everywhere():
            print(f"---- the agent of n{number}:", *cluster.log(number).splitlines()[-40:], sep="\n", file=sys.stderr)
        raise
    finally:
        cluster.down()
        cluster.nothing_left()
    say("passed")


if __name__ == "__main__":
    main()
