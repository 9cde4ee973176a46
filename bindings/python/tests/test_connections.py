"""Connections that the caller makes, against kvm-fake-qemu."""

from __future__ import annotations

import errno
import os
import socket

from kvm_hotplug import Answer, Disk, ErrorKind, Guest

from .support import TestCase


class Connections(TestCase):
    def connected(self, path: str) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.addCleanup(connection.close)
        connection.connect(path)
        return connection

    def test_a_connection_is_lost_and_another_one_given(self) -> None:
        fake = self.fake()
        first, second = self.connected(fake.socket), self.connected(fake.socket)
        with self.record() as record, Guest.open_connection(record, first) as guest:
            self.answers(guest.add_disk(Disk(self.image(), id="data")), Answer.DONE)
            self.fails(ErrorKind.NOT_HOTPLUGGABLE, guest.lend_monitor)
            first.shutdown(socket.SHUT_RDWR)
            first.close()
            lost = self.fails(ErrorKind.MONITOR_LOST, guest.describe_all)
            self.assertEqual(lost.errno, errno.ENOTCONN)
            guest.give_connection(second.fileno())
            self.assertEqual([device["id"] for device in guest.describe_all()], ["data"])

    def test_what_is_no_connection_is_refused(self) -> None:
        null = os.open(os.devnull, os.O_RDONLY)
        self.addCleanup(os.close, null)
        with self.record() as record:
            for fd, number in [(null, errno.ENOTSOCK), (-1, errno.EBADF)]:
                refused = self.fails(ErrorKind.INVALID, lambda: Guest.open_connection(record, fd))
                self.assertEqual(refused.errno, number)
