"""Devices as JSON and wanted lists, against kvm-fake-qemu."""

from __future__ import annotations

import errno
import json
from typing import Any, Dict, List, Tuple

from kvm_hotplug import Answer, Applied, ApplyError, ErrorKind, KvmHotplugError

from .support import PATIENCE, TestCase


def said(applied: Applied) -> List[Tuple[object, str, str]]:
    return [(one.id, one.action, one.answer) for one in applied.devices]


class Lists(TestCase):
    def disk(self, id: str) -> Dict[str, Any]:
        return {"type": "disk", "id": id, "path": self.image(id)}

    def test_a_list_is_made_so(self) -> None:
        fake = self.fake()
        guest = self.guest(fake.socket)
        one, two = self.disk("one"), self.disk("two")
        plan = guest.apply([one], plan_only=True)
        self.assertEqual((plan.answer, said(plan)), (Answer.DONE, [("one", "add", "done")]))
        self.assertFalse(fake.did("device_add one"))
        made = guest.apply([one], timeout=PATIENCE)
        self.assertEqual((made.answer, made.changes, said(made)), (Answer.DONE, 1, [("one", "add", "done")]))
        self.assertIsNotNone(made.devices[0].slot)
        again = guest.apply(json.dumps({"devices": [one]}))
        self.assertEqual((again.changes, said(again)), (0, [("one", "none", "done")]))
        kept = guest.apply([two], keep_others=True)
        self.assertEqual(said(kept), [("two", "add", "done")])
        fake.order("state paused")
        waits = guest.apply([two], no_wait=True)
        self.assertEqual(waits.answer, Answer.PENDING)
        self.assertEqual(said(waits), [("two", "none", "done"), ("one", "del", "pending")])
        self.assertIn("paused", waits.devices[1].reason)

    def test_what_fails_says_what_is_left(self) -> None:
        guest = self.guest(self.fake().socket)
        data = self.disk("data")
        guest.apply([data])
        with self.assertRaises(ApplyError) as caught:
            guest.apply([{**data, "serial": "S1"}], live_only=True)
        self.assertEqual((caught.exception.kind, caught.exception.errno), (ErrorKind.CONFLICT, errno.EEXIST))
        applied = caught.exception.applied
        assert applied is not None
        self.assertEqual(said(applied), [("data", "replace", "refused")])
        self.assertEqual(said(guest.apply([{**data, "serial": "S1"}], replace=True)), [("data", "replace", "done")])
        # Where nothing has been decided there is nothing to say.
        with self.assertRaises(KvmHotplugError) as other:
            guest.apply([{"type": "nic"}])
        self.assertNotIsInstance(other.exception, ApplyError)
        self.assertIn("has no id", str(other.exception))

    def test_devices_as_json(self) -> None:
        fake = self.fake()
        guest = self.guest(fake.socket)
        added = guest.add_json(self.disk("data"), live_only=True, timeout=PATIENCE)
        self.assertEqual((added.answer, said(added)), (Answer.DONE, [("data", "add", "done")]))
        unwaited = guest.add_json([self.disk("more")], no_wait=True)
        self.assertEqual(unwaited.answer, Answer.PENDING)
        self.fails(ErrorKind.INVALID, lambda: guest.add_json({"type": "nic", "mtuu": 1}))
