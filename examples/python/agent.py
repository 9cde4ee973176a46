#!/usr/bin/env python3
"""Plugs a NIC and a disk into a running guest, follows its events, and removes both again.

    agent.py /run/agent/web1.runtime /run/agent/web1.qmp --bridge br0 --disk /srv/data.img

The runtime file is made if it is not there. A removal that the guest has not granted at its deadline is
pending: an event tells when it is done. Ctrl-C ends the call that is under way, and leaves the guest as the
error says.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from contextlib import ExitStack
from typing import List, Optional

from kvm_hotplug import (
    NIC,
    Answer,
    Disk,
    ErrorKind,
    Event,
    EventType,
    Format,
    Guest,
    KvmHotplugError,
    Result,
    Runtime,
)

log = logging.getLogger("agent")

# Events after which storage or tap of a device may be torn down.
GONE = (EventType.REMOVED, EventType.REMOVED_BY_GUEST)


def load(path: str) -> Runtime:
    """The record of the guest, or a new one."""
    try:
        return Runtime.load(path)
    except KvmHotplugError as error:
        if error.kind != ErrorKind.NOT_FOUND:
            raise
    record = Runtime.new()
    try:
        record.save(path)
    except KvmHotplugError:
        record.close()
        raise
    return record


def added(result: Result) -> str:
    """The id of a device that was added."""
    if result.answer == Answer.AFTER_REBOOT:
        log.warning("%s comes with the next boot: %s", result.device.id, result.reason_text)
    else:
        log.info("%s is in the guest, on %s", result.device.id, result.device.bus)
    return result.device.id


def remove(guest: Guest, id: str, timeout: float) -> bool:
    """Asks the guest for a device. True if it is gone, False if an event will tell."""
    result = guest.del_device(id, timeout=timeout)
    if result.answer == Answer.PENDING:
        log.info("the guest was asked for %s: %s", id, result.reason_text)
        return False
    if result.answer == Answer.AFTER_REBOOT:
        log.info("%s goes with the next boot: %s", id, result.reason_text)
    return True


def tell(event: Event) -> None:
    if event.type == EventType.ADD_FAILED:
        log.error("%s: %s", event.id, event.error)
    else:
        log.info("%s %s: %s", event.type.text, event.id or "guest", event.text)


async def follow(guest: Guest, ids: List[str], timeout: float) -> List[str]:
    """Follows events until these devices are gone, or nothing happens for so long. Returns what is left."""
    left = set(ids)
    if left:
        async for event in guest.aevents(timeout=timeout):
            tell(event)
            if event.type in GONE:
                left.discard(event.id)
            if not left:
                break
    return sorted(left)


def work(options: argparse.Namespace) -> int:
    with ExitStack() as stack:
        record = stack.enter_context(load(options.runtime))
        record.set_logger(logging.getLogger("kvm-hotplug"))
        guest = stack.enter_context(Guest.open(record, options.socket, timeout=options.timeout))
        for difference in guest.verify():
            log.warning("%s", difference.text)
        ids = []
        try:
            if options.bridge:
                ids.append(added(guest.add_nic(NIC(bridge=options.bridge, queues=options.queues))))
            ids.append(added(guest.add_disk(Disk(options.disk, format=Format.RAW))))
        except KvmHotplugError as error:
            # It has undone what it began. What was added before stays.
            log.error("%s", error)
            if error.kind == ErrorKind.NO_SLOT:
                log.error("the guest is full: %d devices", len(guest.devices()))
        # An agent goes on with other work here; calls that block are for asyncio.to_thread().
        waiting = [id for id in ids if not remove(guest, id, options.timeout)]
        left = asyncio.run(follow(guest, waiting, options.patience))
        for id in left:
            log.warning("%s is still in the guest", id)
        return 1 if left or len(ids) < (2 if options.bridge else 1) else 0


def main(arguments: Optional[List[str]] = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runtime", help="the guest's runtime file")
    parser.add_argument("socket", help="its QMP socket")
    parser.add_argument("--bridge", help="bridge for a NIC; none without it")
    parser.add_argument("--queues", type=int, default=1)
    parser.add_argument("--disk", required=True, help="absolute path of an image")
    parser.add_argument("--timeout", type=float, default=20.0, help="seconds for each call")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds without an event")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    try:
        return work(options)
    except KvmHotplugError as error:
        log.error("%s", error)
        for line in error.residue:
            log.error("left behind: %s", line)
        return 1
    except KeyboardInterrupt as interrupt:
        # What became of the device that was being added or removed.
        log.error("interrupted%s", f": {interrupt.__cause__}" if interrupt.__cause__ else "")
        return 130


if __name__ == "__main__":
    sys.exit(main())
