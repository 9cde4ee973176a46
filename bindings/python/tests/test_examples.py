"""What the pages and the example say runs as it stands there."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, List
from unittest import mock

import kvm_hotplug
from kvm_hotplug import Disk, EventType, Runtime
from kvm_hotplug.fake import FakeQEMU

from .support import PATIENCE, REPOSITORY, TestCase, environment

AGENT = REPOSITORY / "examples" / "python" / "agent.py"


def examples(page: Path) -> List[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


class Pages(TestCase):
    def test_the_first_program(self) -> None:
        (program,) = examples(REPOSITORY / "bindings" / "python" / "README.md")
        fake = self.fake()
        record = self.record()
        with kvm_hotplug.Guest.open(record, fake.socket) as guest:
            guest.add_disk(Disk(self.image(), bus="pci.0", slot=6))
        record.close()
        program = program.replace("/run/agent/web1.runtime", self.path("web1.runtime"))
        program = program.replace("/run/agent/web1.qmp", fake.socket)
        # The NIC is refused, for its bridge or, without root, for its tap, and the program ends as it should.
        with self.assertRaises(SystemExit) as ended:
            exec(compile(program.replace('"br0"', '"br-unheard-of"'), "README.md", "exec"), {})
        self.assertRegex(str(ended.exception.code), "br-unheard-of|/dev/net/tun")
        said = io.StringIO()
        nothing = re.sub(r"        added = .*\n.*\n.*\n", "", program)
        self.assertNotEqual(nothing, program)
        with contextlib.redirect_stdout(said):
            exec(compile(nothing, "README.md", "exec"), {})
        self.assertEqual(said.getvalue(), f"{self.path('disk.img')} may be torn down\n")

    def test_the_page_about_python(self) -> None:
        events, follow, boot, tests = examples(REPOSITORY / "docs" / "python.md")
        fake, record = self.fake(), self.record(command=["true", "-machine", "pc"])
        names = {**vars(kvm_hotplug), "record": record, "self": self, "FakeQEMU": FakeQEMU}
        exec(boot, names)
        os.waitpid(names["pid"], 0)
        exec(tests, self.with_a_disk(names))
        with self.guest(fake.socket, record) as guest:
            names["guest"] = guest
            exec(follow, names)
            guest.add_disk(Disk(self.image("b"), id="b"))
            fake.order("hold b")
            guest.del_device("b", no_wait=True)
            fake.order("grant b")
            said = io.StringIO()
            with contextlib.redirect_stdout(said):
                exec(events.replace("timeout=60", "timeout=0.5"), names)
            self.assertEqual(said.getvalue(), "b is gone: its storage may be torn down\n")

    def with_a_disk(self, names: Any) -> Any:
        """The page's guest has a disk already."""
        opened = kvm_hotplug.Guest.open

        def open_with_disk(*arguments: Any, **more: Any) -> Any:
            guest = opened(*arguments, **more)
            guest.add_disk(Disk(self.image("a")))
            return guest

        return {**names, "Guest": mock.Mock(open=open_with_disk)}


class Agent(TestCase):
    def agent(self) -> Any:
        spec = importlib.util.spec_from_file_location("agent", AGENT)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    def run_agent(self, *arguments: str) -> int:
        with self.assertLogs(level=logging.INFO) as self.lines:
            status: int = self.agent().main([self.path("web1.runtime"), *arguments])
        return status

    def said(self, words: str) -> bool:
        return any(words in line for line in self.lines.output)

    def test_a_disk_comes_and_goes(self) -> None:
        fake = self.fake()
        self.assertEqual(self.run_agent(fake.socket, "--disk", self.image()), 0, self.lines.output)
        self.assertTrue(fake.did("device_add disk-pci-4"))
        self.assertTrue(fake.did("device_del disk-pci-4"))
        # The record is there the next time.
        self.assertEqual(self.run_agent(fake.socket, "--disk", self.path("disk.img")), 0)

    def test_what_is_refused(self) -> None:
        fake = self.fake()
        fake.order("error device_add no slot today")
        self.assertEqual(self.run_agent(fake.socket, "--disk", self.image()), 1)
        self.assertTrue(self.said("no slot today"))
        self.assertEqual(self.run_agent(self.path("nowhere"), "--disk", self.image()), 1)

    def test_a_late_removal(self) -> None:
        fake = self.fake()
        fake.order("state paused")

        agent = self.agent()
        follow = agent.follow

        async def follow_and_grant(*arguments: Any) -> Any:
            fake.order("grant disk-pci-4")
            return await follow(*arguments)

        agent.follow = follow_and_grant
        with self.assertLogs(level=logging.INFO) as self.lines:
            status = agent.main([self.path("web1.runtime"), fake.socket, "--disk", self.image()])
        self.assertEqual(status, 0, self.lines.output)
        self.assertTrue(self.said("the guest was asked for disk-pci-4"))
        self.assertTrue(self.said(f"{EventType.REMOVED.text} disk-pci-4"))

    def test_ctrl_c(self) -> None:
        fake = self.fake()
        fake.order("hold *")
        words = [sys.executable, str(AGENT), self.path("web1.runtime"), fake.socket, "--disk", self.image()]
        process = subprocess.Popen(
            [*words, "--timeout", str(PATIENCE)], stderr=subprocess.PIPE, text=True, env=environment()
        )
        self.eventually(lambda: "done device_del disk-pci-4" in fake.said())
        process.send_signal(signal.SIGINT)
        said = process.communicate()[1]
        self.assertEqual(process.returncode, 130, said)
        self.assertIn("interrupted: ", said)
        with Runtime.load(self.path("web1.runtime")) as record:
            self.assertEqual([one.id for one in record.unfinished()], ["disk-pci-4"])

    def test_a_nic(self) -> None:
        self.needs_taps()
        subprocess.run(["ip", "link", "add", "kvmpy1", "type", "bridge"], check=True)
        self.addCleanup(subprocess.run, ["ip", "link", "del", "kvmpy1"], check=True)
        fake = self.fake()
        before = socket.if_nameindex()
        self.assertEqual(self.run_agent(fake.socket, "--disk", self.image(), "--bridge", "kvmpy1"), 0)
        self.assertTrue(fake.did("device_del nic-pci-4"))
        self.eventually(lambda: socket.if_nameindex() == before)
