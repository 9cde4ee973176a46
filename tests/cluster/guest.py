"""Runs a shell command in a guest, over its second serial port: guest.py SOCKET SECONDS COMMAND. It says what the
command said, and ends with its status."""

import re
import socket
import sys
import time

path, seconds, command = sys.argv[1], float(sys.argv[2]), sys.argv[3]
port = socket.socket(socket.AF_UNIX)
port.connect(path)
port.settimeout(1)
mark = "mark%d" % (time.monotonic_ns() % 10**9)
port.sendall(("(%s); echo %s-$?\n" % (command, mark)).encode())
done = re.compile(mark.encode() + rb"-(\d+)")
end, said = time.time() + seconds, b""
while time.time() < end:
    try:
        piece = port.recv(4096)
    except socket.timeout:
        continue
    if not piece:
        sys.exit("the serial port is closed")
    said += piece
    found = done.search(said)
    if found:
        text = said[: found.start()].decode(errors="replace")
        # What the guest says when it has booted, and after a command of the tests' own.
        print(re.sub(r"=== (ready|\d+) ===\n?", "", text).strip("\n"))
        sys.exit(int(found.group(1)))
sys.exit("no answer from the guest; it said: %r" % said[-300:])
