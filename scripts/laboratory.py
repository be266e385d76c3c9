"""The servers and clients of scripts/experiments: plain processes and plain sockets."""

import json
import os
import re
import resource
import signal
import socket
import subprocess
import time
from pathlib import Path

PATIENCE = 60  # seconds for one answer


class Server:
    """A process that prints where it listens."""

    def __init__(self, log, command, descriptors=None, **settings):
        self.log = log
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("JSOCKETD_", "RUST_LOG"))}
        settings = {"listen": "127.0.0.1:0", "limits_connects_per_second": 0} | settings
        environ |= {f"JSOCKETD_{name.upper()}": str(value) for name, value in settings.items()}
        limit = descriptors and (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors)))
        with open(log, "w") as out:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environ, preexec_fn=limit
            )
        self.port = int(until(lambda: re.search(r"listening on http://127\.0\.0\.1:(\d+)/", self.text()), self.text)[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.admin = None

    def text(self):
        return self.log.read_text()

    def ask(self, path):
        """The answer, over a connection of its own that stays open: it works without free descriptors too."""
        self.admin = self.admin or Client(self.port, None)
        return json.loads(self.admin.get(path)[1])

    def ticks(self, since=0):
        """The ticks after this number that are remembered: the latest, and the worst since the start."""
        report = self.ask("/debug/loop")
        ticks = {tick["n"]: tick for tick in report["worst"] + report["recent"]}
        return [tick for n, tick in sorted(ticks.items()) if n > since]

    def now(self):
        """The number of the last tick."""
        return self.ask("/debug/loop")["ticks"]

    def memory(self, row):
        """A row of the process' status, in bytes."""
        rows = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"^{row}:\s+(\d+) kB", rows, re.M)[1]) * 1024

    def stopped(self, act):
        """Lets the process stand still while `act` is done, so that it finds all of it at once."""
        self.process.send_signal(signal.SIGSTOP)
        until(lambda: "State:\tT" in Path(f"/proc/{self.process.pid}/status").read_text())
        try:
            return act()
        finally:
            self.process.send_signal(signal.SIGCONT)

    def calls(self, act):
        """The lines of strace about what the server did meanwhile."""
        out = self.log.with_suffix(".strace")
        about = ["-s", "0", "-o", str(out), "-p", str(self.process.pid)]
        try:
            strace = subprocess.Popen(["strace", *about], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        except FileNotFoundError:
            raise AssertionError("strace is not installed; it is in the package strace") from None
        with strace:
            first = strace.stderr.readline()
            why = "root may, and everybody where kernel.yama.ptrace_scope is 0"
            assert " attached" in first, f"strace may not watch the server ({why}): {first.strip()}"
            try:
                act()
            finally:
                strace.send_signal(signal.SIGINT)
        return [line for line in out.read_text().splitlines() if not line.startswith(("strace:", "---"))]

    def kill(self):
        self.process.kill()
        self.process.wait()
        if self.admin:
            self.admin.close()


class Client:
    """A WebSocket at `path`, or an HTTP connection."""

    def __init__(self, port, path, wait=True, receive_buffer=None):
        self.socket = socket.socket()
        # Without this the system would keep tens of thousands of closed connections for a minute.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(("127.0.0.1", port))
        self.buffer = bytearray()
        if path:
            self.request(path, "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n")  # fmt: skip
            if wait:
                self.upgraded()

    def request(self, path, headers=""):
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n".encode())

    def upgraded(self):
        head = self.take_head()
        assert " 101 " in head, head
        return self

    def get(self, path):
        """The status line and the body."""
        self.request(path)
        head = self.take_head()
        length = int(re.search(r"content-length: (\d+)", head, re.I)[1])
        while len(self.buffer) < length:
            self.read()
        body = bytes(self.buffer[:length])
        del self.buffer[:length]
        return head, body

    def read(self):
        data = self.socket.recv(1 << 16)
        if not data:
            raise ConnectionAbortedError("the server ended the connection")
        self.buffer += data

    def take_head(self):
        while (end := self.buffer.find(b"\r\n\r\n")) < 0:
            self.read()
        head = self.buffer[:end].decode()
        del self.buffer[: end + 4]
        return head

    def send(self, text):
        self.socket.sendall(frame(text))

    def take(self):
        """The next frame that is complete, as its opcode and its payload."""
        if len(self.buffer) < 2:
            return None
        length, start = self.buffer[1], 2
        if length >= 126:
            start = 4 if length == 126 else 10
            length = int.from_bytes(self.buffer[2:start], "big")
        if len(self.buffer) < start + length:
            return None
        found = self.buffer[0] & 15, bytes(self.buffer[start : start + length])
        del self.buffer[: start + length]
        return found

    def receive(self):
        while (found := self.take()) is None:
            self.read()
        return found

    def echo(self, text="x"):
        """Sends a text and waits for an answer."""
        self.send(text)
        return self.receive()

    def subscribe(self, channel):
        self.send(json.dumps({"event": "pusher:subscribe", "data": {"channel": channel}}))

    def expect(self, text):
        """Reads until an event holds this text."""
        while text.encode() not in (found := self.receive())[1]:
            assert found[0] != 8, f"closed: {found[1]}"

    def close(self):
        self.socket.close()


def frame(text):
    """A text frame, masked with zeros."""
    data = text.encode()
    length = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2, "big")
    return b"\x81" + length + bytes(4) + data


def until(fact, explain=lambda: ""):
    """Waits for something to be true, and returns it."""
    deadline = time.monotonic() + PATIENCE
    while not (found := fact()):
        assert time.monotonic() < deadline, f"nothing happened for {PATIENCE} s\n{explain()}"
        time.sleep(0.02)
    return found


def close_code(client):
    """The code of the close frame, with all before it thrown away."""
    while (found := client.receive())[0] != 8:
        pass
    client.close()
    return int.from_bytes(found[1][:2], "big")


def was_reset(client):
    try:
        while True:
            client.read()
    except ConnectionResetError:
        return True
    except ConnectionAbortedError:
        return False


def named(calls, *names):
    return [line for line in calls if line.startswith(tuple(f"{name}(" for name in names))]
