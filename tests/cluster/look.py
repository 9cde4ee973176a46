"""What QEMU, the runtime file and the host have of an instance, as JSON: look.py NAME. Runs in its node."""

import json
import os
import socket
import sys

BASE = "/var/run/ganeti/kvm-hypervisor"
name = sys.argv[1]


class Monitor:
    def __init__(self, path):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(10)
        self._socket.connect(path)
        self._stream = self._socket.makefile("rw")
        self._stream.readline()
        self.ask("qmp_capabilities")

    def ask(self, command, **arguments):
        self._stream.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self._stream.flush()
        while True:
            message = json.loads(self._stream.readline())
            if "return" in message or "error" in message:
                return message.get("return")


def names(entries):
    return sorted(entry["name"] for entry in entries if entry["type"].startswith("child"))


monitor = Monitor(f"{BASE}/ctrl/{name}.kvmd")
with open(f"{BASE}/conf/{name}.runtime", encoding="utf-8") as stream:
    record = json.load(stream)
entries = record[1] + [disk[0] for disk in record[3]]
info = monitor.ask("human-monitor-command", **{"command-line": "info network"}).splitlines()
print(json.dumps({
    "guest": names(monitor.ask("qom-list", path="/machine/peripheral")),
    "nodes": sorted(n["node-name"] for n in monitor.ask("query-named-block-nodes") if n["node-name"].startswith("disk")),
    "netdevs": sorted(line.split(":")[0].strip(" \\") for line in info if "type=tap" in line),
    "fdsets": len(monitor.ask("query-fdsets")),
    "record": sorted(entry["hvinfo"]["id"] for entry in entries),
    "uuids": sorted(entry["uuid"] for entry in entries),
    "taps": sorted(tap for tap in os.listdir("/sys/class/net") if tap.startswith("tap")),
    "files": sorted(file for file in os.listdir(f"{BASE}/conf") if file.startswith(name)),
}))
