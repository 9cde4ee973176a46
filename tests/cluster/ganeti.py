"""Ganeti on a real cluster of Debian's packages, with the library behind its hotplug: ganeti.py [SUITE...]

For each suite (default: trixie): two nodes, QEMU emulating. Ganeti's own QA steps for hotplug, unmodified, first
with Ganeti's code, then with the library's; live migration there and back and the three kinds of reboot, with a
hot-plugged NIC and disk in the guest; the node daemon killed at each step of the library, for adding, removing
and changing a NIC or disk, each followed by another call, a reboot or a migration; a guest in a chroot as
another user; one with SCSI disks. `tests/run cluster` builds what it needs."""

import json
import re
import shutil
import sys
import time

from network import expect, timed
from nodes import BUILD, CLUSTER, HERE, PROJECT, Nodes, run, say, until

LIBRARY = PROJECT / "target/release/libkvm_hotplug.so"
GUEST = PROJECT / "build/guest"
ADAPTER = PROJECT / "examples/ganeti/kvm_hotplug_ganeti.py"
PACKAGE = PROJECT / "bindings/python/kvm_hotplug"
SETTINGS = "/etc/ganeti/kvm-hotplug.json"
TIMES = "/var/log/ganeti/kvm-hotplug-times"
KILL_ORDER = "/run/kvm-hotplug-kill"
KILL_LIBRARY = "/usr/local/lib/kill-at.so"
DAEMON = "/usr/lib/ganeti/daemon-util"
CONTROL = "/var/run/ganeti/kvm-hypervisor/ctrl"
# Linux lets go of nothing while it boots.
BOOT_SECONDS = 90


class Cluster(Nodes):
    """Nodes that are a cluster of Ganeti's."""

    def initialize(self):
        hypervisor = (
            "kvm:kvm_path=/usr/bin/qemu-system-x86_64,kvm_flag=disabled,kernel_path=/srv/guest/kernel,"
            "initrd_path=/srv/guest/initramfs,root_path=/dev/ram0,kernel_args=quiet,serial_console=true,"
            "vnc_bind_address=,vhost_net=false,migration_downtime=300,migration_mode=live,security_model=none"
        )
        least = "min:memory-size=64,cpu-count=1,disk-size=1,disk-count=0,nic-count=0,spindle-use=1"
        most = "max:memory-size=4096,cpu-count=4,disk-size=8192,disk-count=16,nic-count=8,spindle-use=4"
        self.do(
            1, "gnt-cluster", "init", "--enabled-hypervisors=kvm", "--enabled-disk-templates=sharedfile,file",
            "--shared-file-storage-dir=/srv/ganeti/shared-file-storage",
            "--file-storage-dir=/srv/ganeti/file-storage", "--master-netdev=br0", "--no-etc-hosts",
            "--nic-parameters", "mode=bridged,link=br0",
            "--backend-parameters", "vcpus=1,minmem=256M,maxmem=256M", "--hypervisor-parameters", hypervisor,
            "--ipolicy-bounds-specs", f"{least}/{most}", CLUSTER,
        )
        # The init makes a new key for root; an administrator lets it in once.
        key = self.do(1, "sh", "-c", "cat /root/.ssh/id_*.pub")
        for number in range(2, self.count + 1):
            self.do(number, "sh", "-c", "cat >>/root/.ssh/authorized_keys", input=key)
            self.do(1, "gnt-node", "add", "--no-ssh-key-check", f"n{number}.lab")

    def version(self):
        return re.search(r"(\d+\.\d+)", self.do(1, "gnt-cluster", "--version")).group(1)

    def use_library(self):
        """Installs library, Python package and adapter as the adapter's README says, and the preload that
        ends the node daemon at a step."""
        run("cc", "-shared", "-fPIC", "-Wall", "-Werror", "-O2", "-o", str(BUILD / "kill-at.so"),
            str(HERE / "kill-at.c"), "-ldl")
        for number in self.everywhere():
            root = f"/proc/{self.pids[number]}/root"
            shutil.copy(BUILD / "kill-at.so", root + KILL_LIBRARY)
            self.do(number, "ldconfig")
            where = self.do(number, "python3", "-c", "import site; print(site.getsitepackages()[0])").strip()
            shutil.copytree(PACKAGE, f"{root}{where}/kvm_hotplug", dirs_exist_ok=True)
            self.do(number, "python3", "-c", "import kvm_hotplug")
            folder = self.do(number, "sh", "-c", "ls -d /usr/share/ganeti/3.*/ganeti/hypervisor/hv_kvm").strip()
            shutil.copy(ADAPTER, f"{root}{folder}/kvm_hotplug_ganeti.py")
            hook = "from ganeti.hypervisor.hv_kvm import kvm_hotplug_ganeti\nkvm_hotplug_ganeti.install(KVMHypervisor)\n"
            self.do(number, "sh", "-c", f"cat >>{folder}/__init__.py", input=hook)
            self.do(number, DAEMON, "stop", "ganeti-noded")
            self.start_daemon(number)

    def start_daemon(self, number):
        self.do(number, "env", f"LD_PRELOAD={KILL_LIBRARY}", DAEMON, "start", "ganeti-noded")
        until(lambda: self.answers(number), 20, f"the node daemon of node {number}")

    def answers(self, number):
        return self.attempt(number, "bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/1811").returncode == 0

    def backend(self, backend):
        for number in self.everywhere():
            self.write(number, SETTINGS, json.dumps({"backend": backend, "times": TIMES}))


class Instance:
    """A guest on the cluster, which takes commands at a serial port."""

    def __init__(self, cluster, name, node=1):
        self.cluster, self.name, self.node = cluster, f"{name}.lab", node

    def add(self, *parameters):
        port = f"{CONTROL}/{self.name}.commands"
        more = [f"kvm_extra=-serial unix:{port}\\,server=on\\,wait=off", *parameters]
        self.cluster.do(
            1, "gnt-instance", "add", "-t", "sharedfile", "-o", "noop", "--no-ip-check", "--no-name-check",
            "-n", f"n{self.node}.lab", "--disk", "0:size=16m", "--net", "0:mode=bridged,link=br0",
            "-H", "kvm:" + ",".join(more), self.name,
        )
        self.await_boot()

    def says(self, command, seconds=30):
        """Runs a command in the guest."""
        script = (HERE / "guest.py").read_text()
        port = f"{CONTROL}/{self.name}.commands"
        return self.cluster.attempt(self.node, "python3", "-", port, str(seconds), command, input=script)

    def await_boot(self):
        until(lambda: self.says("true", 1).returncode == 0, BOOT_SECONDS, f"{self.name} has booted")

    def modify(self, *what):
        return self.cluster.do(*self.modification(*what))

    def modification(self, *what):
        """3.0 plugs only if it is told to."""
        more = ["--hotplug"] if self.cluster.version() == "3.0" else []
        return (1, "gnt-instance", "modify", *more, *what, self.name)

    def look(self):
        script = (HERE / "look.py").read_text()
        return json.loads(self.cluster.do(self.node, "python3", "-", self.name, input=script))

    def devices(self):
        """Names and places of the guest's own NICs and disks."""
        command = (
            "cd /sys/class; for i in net/e* block/[sv]d*; do"
            " echo $i@$(basename $(readlink -f $i/device/..)); done"
        )
        said = self.says(command)
        if said.returncode != 0:
            raise RuntimeError(f"the guest does not say what it has: {said.stdout}")
        return sorted(line for line in said.stdout.split() if "*" not in line)

    def check(self, what):
        """Guest, QEMU, runtime file and host agree, and nothing is left half done."""
        found = self.look()
        ids = [one for one in found["guest"] if one.startswith(("nic-", "disk-"))]
        nics = [one for one in found["record"] if one.startswith("nic-")]
        disks = [one for one in found["record"] if one.startswith("disk-")]
        expect(ids, found["record"], f"{what}: QEMU's devices and the runtime file's")
        expect(sorted(set(found["netdevs"])), nics, f"{what}: QEMU's netdevs")
        # 3.0 starts disks with drives, which have no node of a name.
        left = [one for one in found["nodes"] if one not in disks]
        expect(left, [], f"{what}: QEMU's block nodes without a disk")
        expect(len(found["taps"]), len(nics), f"{what}: taps on the host: {found['taps']}")
        left = [file for file in found["files"] if file.endswith((".journal", ".new"))]
        expect(left, [], f"{what}: files beside the runtime file")
        # The guest may not have looked yet at what QEMU has just been told.
        seen = lambda: len(self.devices()) == len(found["record"])
        until(seen, BOOT_SECONDS, lambda: f"{what}: the guest shows {found['record']}, which has {self.devices()}")
        return found

    def migrate(self):
        self.cluster.do(1, "gnt-instance", "migrate", "-f", self.name)
        self.node = 3 - self.node

    def stop(self):
        self.cluster.do(1, "gnt-instance", "shutdown", "--timeout=1", self.name)

    def reboot(self, kind):
        self.cluster.do(1, "gnt-instance", "reboot", f"--type={kind}", "--shutdown-timeout=5", self.name)
        self.await_boot()


def qa_steps(instance):
    """_TestKVMHotplug of Debian's ganeti-testsuite, as it is."""
    cluster = instance.cluster
    nodes = [{"primary": f"n{number}.lab"} for number in cluster.everywhere()]
    cluster.write(1, "/root/qa.json", json.dumps({
        "name": CLUSTER, "enabled-hypervisors": "kvm", "enabled-disk-templates": ["sharedfile"], "os": "noop",
        "disks": [{"size": "64M", "growth": "16M"}], "maxmem": "256M", "minmem": "256M",
        "instances": [{"name": instance.name}], "nodes": nodes, "master-netdev": "br0", "cluster-init-args": [],
        "tests": {"default": False, "instance-device-hotplug": True}, "options": {},
    }))
    # QA insists on known hosts.
    hosts = " ".join(f"n{number}.lab" for number in cluster.everywhere())
    cluster.do(1, "sh", "-c", f"ssh-keyscan {hosts} >/etc/ssh/ssh_known_hosts 2>/dev/null; rm -f /root/.ssh/config")
    program = f"""
import inspect, sys
sys.path.insert(0, "/usr/share/ganeti/testsuite/qa")
from qa import qa_config, qa_instance
qa_config.Load("/root/qa.json")
class Instance: name = "{instance.name}"
# Since 3.1 it is told the type of disks.
arguments = [Instance, {{"hypervisor-parameters": {{"disk_type": "paravirtual"}}}}]
steps = qa_instance._TestKVMHotplug
steps(*arguments[:len(inspect.signature(steps).parameters)])
"""
    path = f"PYTHONPATH=/usr/share/ganeti/testsuite:/usr/share/ganeti/{cluster.version()}"
    cluster.do(1, "env", path, "python3", "-", input=program)


def migrations_and_reboots(instance):
    instance.modify("--net", "add")
    instance.modify("--disk", "add:size=64m")
    before = instance.check("with a NIC and a disk more")
    seen = instance.devices()
    instance.says("echo alive >/tmp/mark; echo written >/dev/vdb; sync")
    for direction in ("there", "back"):
        instance.migrate()
        said = instance.says("cat /tmp/mark; head -c 7 /dev/vdb").stdout.split()
        expect(said, ["alive", "written"], f"migrated {direction}: what the guest has")
        expect(instance.devices(), seen, f"migrated {direction}: the guest's devices")
        after = instance.check(f"migrated {direction}")
        expect(after["uuids"], before["uuids"], f"migrated {direction}: Ganeti's uuids")
    for kind in ("soft", "hard", "full"):
        instance.reboot(kind)
        # But for a soft reboot, Ganeti makes a new QEMU, and places the devices anew.
        if kind == "soft":
            expect(instance.devices(), seen, "rebooted (soft): the guest's devices")
        instance.check(f"rebooted ({kind})")
    instance.modify("--net", "-1:remove")
    instance.modify("--disk", "-1:remove")
    instance.check("with both removed")


# What is done, at which step of it the node daemon is killed, and what comes next.
KILLS = [
    ("net add", "journal", "another"),
    ("net add", "device_add", "migrate"),
    ("net add", "record", "reboot"),
    ("net add", "recorded", "migrate"),
    ("disk add", "journal", "reboot"),
    ("disk add", "device_add", "migrate"),
    ("disk add", "device_add", "another"),
    ("disk add", "done", "reboot"),
    ("net modify", "device_del", "migrate"),
    ("net modify", "record", "another"),
    ("net modify", "device_add", "reboot"),
    ("net del", "journal", "another"),
    ("net del", "device_del", "reboot"),
    ("net del", "record", "migrate"),
    ("disk del", "device_del", "migrate"),
    ("disk del", "recorded", "another"),
]
CALLS = {
    "net add": ("--net", "add"),
    "net modify": ("--force", "--net", "1:modify,mac=aa:00:00:aa:bb:{:02x}"),
    "net del": ("--net", "-1:remove"),
    "disk add": ("--disk", "add:size=64m"),
    "disk del": ("--disk", "-1:remove"),
}


def killed(instance, number, call, step, then):
    """The node daemon is killed in the middle. What comes next finds guest and record in agreement."""
    cluster = instance.cluster
    kind = call.split()[0]
    if call.split()[1] != "add":
        instance.modify(*CALLS[f"{kind} add"])
    what = f"{call} killed at {step}, then {then}"
    cluster.write(instance.node, KILL_ORDER, step + "\n")
    *options, value = CALLS[call]
    # Ganeti's job fails or warns, and its configuration goes on as if nothing had been.
    said = cluster.attempt(*instance.modification(*options, value.format(number))).stdout
    if cluster.attempt(instance.node, "test", "-e", KILL_ORDER).returncode == 0:
        raise AssertionError(f"{what}: the library has not come to that step; Ganeti said:\n{said}")
    cluster.attempt(instance.node, DAEMON, "stop", "ganeti-noded")
    cluster.start_daemon(instance.node)
    if then == "migrate":
        instance.migrate()
    elif then == "reboot":
        instance.reboot("hard")
    else:
        instance.modify("--disk", "add:size=32m")
        instance.modify("--disk", "-1:remove")
    settle(instance)
    instance.check(what)
    clear(instance)


def settle(instance):
    """What the next call of Ganeti's on the instance does first."""
    program = f"""
from kvm_hotplug import Guest, Runtime
base = "/var/run/ganeti/kvm-hypervisor"
with Runtime.load(f"{{base}}/conf/{instance.name}.runtime") as record:
    with Guest.open(record, f"{{base}}/ctrl/{instance.name}.qmp") as guest:
        for _ in range(60):
            guest.process()
            if not guest.settle():
                break
            import time
            time.sleep(0.5)
"""
    instance.cluster.do(instance.node, "python3", "-", input=program)


def clear(instance):
    """One NIC and one disk, as in the beginning: what Ganeti's configuration has beside is removed, and a stop
    and start makes guest and configuration one again."""
    cluster = instance.cluster
    fields = cluster.do(1, "gnt-instance", "list", "--no-headers", "-o", "nic.count,disk.count", instance.name)
    nics, disks = map(int, fields.split())
    for kind, count in (("--net", nics), ("--disk", disks)):
        for _ in range(count - 1):
            cluster.attempt(*instance.modification(kind, "-1:remove"))
    found = instance.look()
    if len(found["record"]) != 2:
        cluster.do(1, "gnt-instance", "reboot", "--type=full", "--shutdown-timeout=5", instance.name)
        instance.await_boot()
    expect(len(instance.look()["record"]), 2, "the instance as in the beginning")


def times(cluster):
    """Milliseconds of each call in the node daemon, the least of each."""
    least = {}
    for number in cluster.everywhere():
        said = cluster.attempt(number, "cat", TIMES)
        for line in said.stdout.splitlines():
            words = line.split()
            if len(words) < 5 or words[-1] != "ok" or words[1] == "VerifyHotplugSupport":
                continue
            key = (" ".join(words[1:-3]), words[0])
            least[key] = min(float(words[-3]), least.get(key, 1e9))
    rows = sorted({call for call, _ in least})
    print(f"{'milliseconds in the node daemon':34} {'Ganeti':>8} {'library':>8}")
    for call in rows:
        cells = [f"{least[(call, who)]:8.0f}" if (call, who) in least else "       -" for who in ("own", "library")]
        print(f"{call:34} {cells[0]} {cells[1]}")


def try_suite(suite):
    cluster = Cluster(suite)
    try:
        with timed(f"{suite}: two nodes"):
            cluster.up(LIBRARY, GUEST)
        with timed(f"{suite}: Ganeti {cluster.version()}"):
            cluster.initialize()
        instance = Instance(cluster, "web1")
        with timed("an instance"):
            cluster.use_library()
            cluster.backend("own")
            instance.add()
        for backend in ("own", "library"):
            cluster.backend(backend)
            with timed(f"Ganeti's QA steps, backend {backend}"):
                qa_steps(instance)
                instance.check(f"QA steps, {backend}")
        with timed("migrations and reboots"):
            migrations_and_reboots(instance)
        for number, (call, step, then) in enumerate(KILLS):
            with timed(f"{call}, killed at {step}, then {then}"):
                killed(instance, number, call, step, then)
        with timed("in a chroot, as another user"):
            other = chroot(cluster)
        # Taps are counted on a node, so no other instance runs there.
        for each in (instance, other):
            each.stop()
        with timed("SCSI disks"):
            scsi(cluster)
        times(cluster)
    finally:
        cluster.down()


def chroot(cluster):
    """QEMU in a chroot, and as a user of a pool: it opens nothing by itself."""
    for number in cluster.everywhere():
        cluster.do(number, "sh", "-c", "for u in 0 1 2 3; do useradd --uid 2000$u pool$u; done")
    cluster.do(1, "gnt-cluster", "modify", "--uid-pool", "20000-20003")
    instance = Instance(cluster, "web2", node=2)
    instance.add("use_chroot=true", "security_model=pool")
    qa_steps(instance)
    instance.check("in a chroot")
    return instance


def scsi(cluster):
    """Disks on the bus of the controller that Ganeti starts: one comes, is migrated and goes."""
    instance = Instance(cluster, "web3")
    instance.add("disk_type=scsi-hd", "scsi_controller_type=virtio-scsi-pci")
    instance.check("with a SCSI disk")
    instance.modify("--disk", "add:size=64m")
    instance.check("with two SCSI disks")
    expect([one.split("@")[0] for one in instance.devices() if one.startswith("block/")],
           ["block/sda", "block/sdb"], "the guest's disks")
    instance.says("echo written >/dev/sdb; sync")
    instance.migrate()
    expect(instance.says("head -c 7 /dev/sdb").stdout.split(), ["written"], "migrated: what the disk has")
    instance.check("migrated with two SCSI disks")
    instance.modify("--disk", "-1:remove")
    instance.check("with one SCSI disk again")


def main():
    for suite in sys.argv[1:] or ["trixie"]:
        try_suite(suite)
    say("passed")


if __name__ == "__main__":
    main()
