"""Events: the iterator, asyncio, and by hand."""

from __future__ import annotations

import asyncio
import errno
import select
import threading
import time
from typing import List, Optional
from unittest import mock

from kvm_hotplug import Answer, DeviceType, Disk, ErrorKind, Event, EventType, Guest, KvmHotplugError
from kvm_hotplug.events import event_of
from kvm_hotplug.fake import FakeError, FakeQEMU

from .support import PATIENCE, TestCase, in_thread


class Events(TestCase):
    def setUp(self) -> None:
        super().setUp()
        # What comes is seen at once, and not only at the next look.
        patch = mock.patch("kvm_hotplug._events._LOOK_AGAIN", 10 * PATIENCE)
        patch.start()
        self.addCleanup(patch.stop)
        self.qemu = self.fake()

    def pending(self, id: str = "data") -> Guest:
        """A guest that does not let go of its disk."""
        guest = self.guest(self.qemu.socket)
        guest.add_disk(Disk(self.image(id), id=id))
        self.qemu.order(f"hold {id}")
        self.answers(guest.del_device(id, no_wait=True), Answer.PENDING)
        self.assertTrue(self.qemu.did(f"device_del {id}"))
        return guest

    def test_a_late_removal(self) -> None:
        guest = self.pending()
        device = guest.device("data")
        self.qemu.order("grant data")
        event = self.event(guest, EventType.REMOVED, "data")
        assert device is not None
        self.assertEqual((event.device_type, event.generation), (DeviceType.DISK, device.generation))
        self.assertTrue(event.text)
        self.assertIsNone(event.error)
        self.assertEqual(event.json["event"], "removed")
        self.assertIsNone(guest.device("data"))

    def test_news_end_the_wait(self) -> None:
        guest = self.pending()
        seen: List[Event] = []
        with mock.patch.object(guest, "_await", wraps=guest._await) as awaits:
            reader = in_thread(lambda: seen.append(next(guest.events())))
            self.eventually(lambda: awaits.called)
            self.qemu.order("grant data")
            reader.join(PATIENCE)
        self.assertEqual([event.type for event in seen], [EventType.REMOVED])

    def test_no_event_is_lost_in_a_loop(self) -> None:
        guest = self.guest(self.qemu.socket)
        guest.forward_qmp_events(True)
        for number in range(5):
            self.qemu.order(f'event RTC_CHANGE {{"offset": {number}}}')
        self.eventually(lambda: guest.process(timeout=PATIENCE) == 5)
        events = [event.qmp for event in guest.events(timeout=0) if event.qmp]
        self.assertEqual([qmp["data"]["offset"] for qmp in events], list(range(5)))

    def test_no_event_is_lost_between_two_loops(self) -> None:
        guest = self.pending()
        guest.forward_qmp_events(True)
        for number in range(5):
            self.qemu.order(f'event RTC_CHANGE {{"offset": {number}}}')
        seen = []
        for _ in range(5):
            event = self.event(guest, EventType.QMP)
            assert event.qmp is not None
            seen.append(event.qmp["data"]["offset"])
        self.assertEqual(seen, list(range(5)))

    def test_adds_that_are_not_waited_for(self) -> None:
        guest = self.guest(self.qemu.socket)
        begun = self.answers(guest.add_disk(Disk(self.image(), id="data", no_wait=True)), Answer.PENDING)
        self.assertEqual(self.event(guest, EventType.ADDED, "data").generation, begun.device.generation)
        self.qemu.order("error device_add no room")
        self.answers(guest.add_disk(Disk(self.image("other"), id="other", no_wait=True)), Answer.PENDING)
        failed = self.event(guest, EventType.ADD_FAILED, "other").error
        assert failed is not None
        self.assertEqual(failed.kind, ErrorKind.QMP)
        self.assertIn("no room", str(failed))

    def test_the_iterator_ends_when_nothing_comes(self) -> None:
        guest = self.guest(self.qemu.socket)
        begin = time.monotonic()
        self.assertEqual(list(guest.events(timeout=0.1)), [])
        self.assertGreaterEqual(time.monotonic() - begin, 0.1)
        self.assertEqual(list(guest.events(timeout=0)), [])

    def test_the_iterator_ends_when_the_guest_is_closed(self) -> None:
        guest = self.guest(self.qemu.socket)
        seen: List[Event] = []
        with mock.patch.object(guest, "_await", wraps=guest._await) as awaits:
            reader = in_thread(lambda: seen.extend(guest.events()))
            self.eventually(lambda: awaits.called and guest._inside)
            guest.close()
            reader.join(PATIENCE)
        self.assertFalse(reader.is_alive())
        self.assertEqual(seen, [])

    def test_the_iterator_outlives_qemu(self) -> None:
        guest = self.guest(self.qemu.socket)
        self.qemu.close()
        self.event(guest, EventType.MONITOR_LOST)
        self.assertEqual(list(guest.events(timeout=0.5)), [])

    def test_a_failure_that_is_not_temporary_is_raised(self) -> None:
        guest = self.guest(self.qemu.socket)
        full = KvmHotplugError(errno.ENOSPC, "the disk is full")
        refused = KvmHotplugError(errno.ECONNREFUSED, "nobody listens")
        busy = KvmHotplugError(errno.EBUSY, "another client", kind=ErrorKind.MONITOR_BUSY)
        with mock.patch.object(guest, "process", side_effect=[refused, busy, 0, full]) as process:
            with mock.patch.object(guest, "_await", return_value=True):
                with self.assertRaises(KvmHotplugError) as caught:
                    list(guest.events())
        self.assertIs(caught.exception, full)
        self.assertEqual(process.call_count, 4)

    def test_a_lost_connection_comes_back(self) -> None:
        guest = self.guest(self.qemu.socket)
        self.qemu.order("hang-up")
        self.event(guest, EventType.MONITOR_LOST)
        self.event(guest, EventType.MONITOR_RESTORED)

    def test_by_hand(self) -> None:
        guest = self.pending()
        self.assertIsNone(guest.next_event())
        poll = select.poll()
        poll.register(guest, select.POLLIN)
        self.qemu.order("grant data")
        self.assertTrue(poll.poll(PATIENCE * 1000))
        self.eventually(lambda: guest.process(timeout=PATIENCE) == 1)
        event = guest.next_event()
        assert event is not None
        self.assertEqual((event.type, event.id), (EventType.REMOVED, "data"))
        self.assertIsNone(guest.next_event())

    def test_what_the_guest_does(self) -> None:
        guest = self.guest(self.qemu.socket)
        self.qemu.order('event SHUTDOWN {"guest": true, "reason": "guest-shutdown"}')
        self.assertTrue(self.event(guest, EventType.SHUTDOWN).by_guest)
        guest.forward_qmp_events(True)
        self.qemu.order('event RTC_CHANGE {"offset": 78}')
        qmp = self.event(guest, EventType.QMP).qmp
        assert qmp is not None
        self.assertEqual((qmp["event"], qmp["data"]), ("RTC_CHANGE", {"offset": 78}))

    def test_what_a_newer_library_says(self) -> None:
        event = event_of('{"event": "teleported", "id": "x", "type": "gpu", "more": 1}')
        self.assertEqual((event.type, event.id, event.json["more"]), (EventType(0), "x", 1))
        self.assertEqual(event.type.name, "UNKNOWN_0")


class Asyncio(Events):
    """The same guest, and asyncio's loop."""

    def event(self, guest: Guest, kind: EventType, id: str = "") -> Event:
        async def wait() -> Event:
            async for event in guest.aevents(timeout=PATIENCE):
                if (event.type, event.id) == (kind, id):
                    return event
            raise AssertionError(f"no event {kind.name} {id}")

        return asyncio.run(wait())

    def test_the_loop_goes_on_meanwhile(self) -> None:
        guest = self.pending()

        async def both() -> Event:
            events = guest.aevents()
            waiting = asyncio.ensure_future(events.__anext__())
            await asyncio.sleep(0.05)
            self.assertFalse(waiting.done())
            self.qemu.order("grant data")
            event = await asyncio.wait_for(waiting, PATIENCE)
            await events.aclose()  # type: ignore[attr-defined]
            return event

        self.assertEqual(asyncio.run(both()).type, EventType.REMOVED)

    def test_the_iterator_ends_when_nothing_comes(self) -> None:
        guest = self.guest(self.qemu.socket)

        async def all_events() -> List[Event]:
            return [event async for event in guest.aevents(timeout=0.1)]

        self.assertEqual(asyncio.run(all_events()), [])

    # Not only at the end of the pause between two looks.
    @mock.patch("kvm_hotplug._events._LOOK_AGAIN", 10 * PATIENCE)
    def test_the_iterator_ends_when_the_guest_is_closed(self) -> None:
        guest = self.guest(self.qemu.socket)

        async def close_meanwhile() -> List[Event]:
            asyncio.get_running_loop().call_later(0.05, guest.close)
            return await asyncio.wait_for(all_events(), PATIENCE)

        async def all_events() -> List[Event]:
            return [event async for event in guest.aevents()]

        self.assertEqual(asyncio.run(close_meanwhile()), [])

    def test_a_task_is_cancelled(self) -> None:
        guest = self.guest(self.qemu.socket)

        async def all_events() -> List[Event]:
            return [event async for event in guest.aevents()]

        async def cancel() -> None:
            task = asyncio.ensure_future(all_events())
            await asyncio.sleep(0.05)
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task

        asyncio.run(cancel())

    def test_a_task_that_is_cancelled_while_it_fetches_loses_no_event(self) -> None:
        guest = self.pending()
        fetching, go_on = threading.Event(), threading.Event()
        fetch = guest._next

        def slow() -> Optional[Event]:
            event = fetch()
            if event is not None:
                fetching.set()
                go_on.wait(PATIENCE)
            return event

        async def cancel() -> None:
            task = asyncio.ensure_future(guest.aevents().__anext__())
            self.qemu.order("grant data")
            await asyncio.get_running_loop().run_in_executor(None, fetching.wait, PATIENCE)
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task
            go_on.set()
            while not guest._undelivered:
                await asyncio.sleep(0.001)

        with mock.patch.object(guest, "_next", slow):
            asyncio.run(asyncio.wait_for(cancel(), PATIENCE))
        self.assertEqual(self.event(guest, EventType.REMOVED, "data").id, "data")

    def test_two_loops_watch_one_guest(self) -> None:
        guest = self.pending()

        async def first(events: "asyncio.Queue[Event]") -> None:
            async for event in guest.aevents(timeout=PATIENCE):
                await events.put(event)

        async def both() -> Event:
            events: "asyncio.Queue[Event]" = asyncio.Queue()
            tasks = [asyncio.ensure_future(first(events)) for _ in range(2)]
            await asyncio.sleep(0.05)
            self.qemu.order("grant data")
            event = await asyncio.wait_for(events.get(), PATIENCE)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            return event

        self.assertEqual(asyncio.run(both()).type, EventType.REMOVED)


class Fake(TestCase):
    def test_what_it_says(self) -> None:
        with FakeQEMU("--ports", "1") as fake:
            with self.assertRaises(FakeError):
                fake.order("dance")
            self.assertFalse(fake.did("device_add x"))
            with Guest.open(self.record(), fake.socket):
                # What it says may come a moment after what it does.
                self.eventually(lambda: "client come" in fake.said())
            self.eventually(lambda: "client gone" in fake.said())
