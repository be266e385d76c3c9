"""The Python clients against the real binary: `pusher`, the library of back ends, and Pysher, a client.

The binary is the one that JSOCKETD_BIN names, otherwise the debug build; it runs with one app on a free port. Waits are for
facts, each with a deadline.
"""

import json
import os
import pathlib
import queue
import re
import subprocess
import tempfile
import threading
import time
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pusher
import pysher
from pusher.errors import PusherBadAuth, PusherBadRequest, PusherBadStatus, PusherForbidden

ROOT = pathlib.Path(__file__).resolve().parents[3]
BINARY = os.environ.get("JSOCKETD_BIN", str(ROOT / "target/debug/jsocketd"))
APP = {"id": "4711", "key": "site-key", "secret": "site-secret-0123456789"}
PATIENCE = 15


class Site:
    """A server of our own."""

    def __init__(self, app="client_events = true", limits="", more="", port=0, path=""):
        self.path = path
        self.folder = tempfile.TemporaryDirectory()
        config = pathlib.Path(self.folder.name, "jsocketd.toml")
        credentials = "\n".join(f'{name} = "{value}"' for name, value in APP.items())
        pusher = f'path = "{path}"'
        sections = ["[limits]", "connects_per_second = 0", limits, "[pusher]", pusher, "[[apps]]", credentials, app, more, ""]
        config.write_text("\n".join(sections))
        env = {k: v for k, v in os.environ.items() if not k.startswith("JSOCKETD_") and k != "RUST_LOG"}
        self.log = open(pathlib.Path(self.folder.name, "log"), "w+", encoding="utf-8")
        arguments = [BINARY, "serve", "--config", str(config), "--listen", f"127.0.0.1:{port}"]
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=self.log, text=True, env=env)
        line = self.process.stdout.readline()
        said = re.match(r"listening on http://127\.0\.0\.1:(\d+)/", line)
        if not said:
            self.log.seek(0)
            raise RuntimeError(f"the server said {line!r}:\n{self.log.read()}")
        self.port = int(said[1])
        self.clients = []

    def stop(self):
        self.process.kill()
        self.process.wait()

    def end(self):
        for client in self.clients:
            client.disconnect(0)
        self.stop()
        self.process.stdout.close()
        self.log.close()
        self.folder.cleanup()

    def library(self, **changes):
        given = {"app_id": APP["id"], "key": APP["key"], "secret": APP["secret"]}
        return pusher.Pusher(**{**given, "ssl": False, "host": "127.0.0.1", "port": self.port, **changes})

    def client(self, user=None, **options):
        """A Pysher client that is connected."""
        client = pysher.Pusher(
            APP["key"], secret=APP["secret"], secure=False, custom_host="127.0.0.1", port=self.port, user_data=user,
            reconnect_interval=0.1, log_level="CRITICAL", **options,
        )
        # Pysher has no option for a prefix.
        client.connection.url = client.connection.url.replace("/app/", f"{self.path}/app/")
        connected = threading.Event()
        client.connection.bind("pusher:connection_established", lambda _: connected.set())
        client.connect()
        if not connected.wait(PATIENCE):
            raise AssertionError("Pysher did not connect")
        self.clients.append(client)
        return client

    def wait(self, what, fact):
        deadline = time.monotonic() + PATIENCE
        while not fact():
            if time.monotonic() > deadline:
                raise AssertionError(f"waited in vain until {what}")
            time.sleep(0.005)


def heard(channel, *events):
    """The channel's events of these names, as a queue."""
    said = queue.Queue()
    for event in events:
        channel.bind(event, lambda data, event=event: said.put((event, data)))
    return said


class WithSite(unittest.TestCase):
    path = ""

    @classmethod
    def setUpClass(cls):
        cls.site = Site(path=cls.path)
        cls.library = cls.site.library()

    @classmethod
    def tearDownClass(cls):
        cls.site.end()

    def subscribe(self, client, name):
        """Subscribes, and waits until the server says so: Pysher itself may miss a fast confirmation."""
        before = self.library.channel_info(name, ["subscription_count"]).get("subscription_count", 0)
        channel = client.subscribe(name)
        count = lambda: self.library.channel_info(name, ["subscription_count"]).get("subscription_count", 0)
        self.site.wait(f"{name} is subscribed", lambda: count() == before + 1)
        return channel


class Library(WithSite):
    def test_trigger(self):
        client = self.site.client()
        said = heard(self.subscribe(client, "news"), "event", "App\\Events\\Shipped")
        for data in ({"text": "é 🐘", "deep": [1, None]}, "text", []):
            self.assertEqual(self.library.trigger("news", "event", data), {})
            event, came = said.get(timeout=PATIENCE)
            self.assertEqual(came if isinstance(data, str) else json.loads(came), data)
        self.library.trigger(["news", "other"], "App\\Events\\Shipped", "")
        self.assertEqual(said.get(timeout=PATIENCE), ("App\\Events\\Shipped", ""))

    def test_trigger_leaves_a_socket_out(self):
        client = self.site.client()
        said = heard(self.subscribe(client, "chat"), "event")
        self.library.trigger("chat", "event", "own", client.connection.socket_id)
        self.library.trigger("chat", "event", "others", "1.1")
        self.assertEqual(said.get(timeout=PATIENCE), ("event", "others"))

    def test_trigger_batch(self):
        client = self.site.client()
        said = heard(self.subscribe(client, "batched"), "event")
        batch = [{"channel": "batched", "name": "event", "data": str(number)} for number in range(10)]
        self.assertEqual(self.library.trigger_batch(batch), {})
        self.assertEqual([said.get(timeout=PATIENCE)[1] for _ in batch], [str(number) for number in range(10)])

    def test_channels_and_users(self):
        # Its GET requests carry the MD5 of an empty body.
        client = self.site.client({"user_id": "ada", "user_info": {"name": "Ada"}})
        self.subscribe(client, "presence-told")
        self.assertEqual(
            self.library.channels_info("presence-told", ["user_count"]), {"channels": {"presence-told": {"user_count": 1}}}
        )
        self.assertIn("presence-told", self.library.channels_info()["channels"])
        self.assertEqual(
            self.library.channel_info("presence-told", ["user_count", "subscription_count"]),
            {"occupied": True, "user_count": 1, "subscription_count": 1},
        )
        self.assertEqual(self.library.channel_info("nobody"), {"occupied": False})
        self.assertEqual(self.library.users_info("presence-told"), {"users": [{"id": "ada"}]})
        self.assertEqual(self.library.users_info("presence-nobody"), {"users": []})

    def test_refusals(self):
        with self.assertRaises(PusherBadRequest):
            self.library.trigger("news", "pusher:event", "")
        with self.assertRaises(PusherBadRequest):
            self.library.channels_info(None, ["user_count"])
        with self.assertRaises(PusherBadRequest):
            self.library.users_info("news")
        with self.assertRaises(PusherBadAuth):
            self.site.library(secret="wrong").trigger("news", "event", "")
        with self.assertRaises(PusherBadAuth):
            self.site.library(key="wrong").channels_info()
        with self.assertRaises(PusherBadStatus):
            self.site.library(app_id="1").trigger("news", "event", "")
        self.library.trigger("news", "event", "x" * 10240)

    def test_disabled_app(self):
        site = Site(app="enabled = false")
        try:
            with self.assertRaises(PusherForbidden):
                site.library().trigger("news", "event", "")
        finally:
            site.end()

    def test_terminate_user_connections(self):
        client = self.site.client()
        said = heard(client.connection, "pusher:signin_success")
        signed = self.library.authenticate_user(client.connection.socket_id, {"id": "ada"})
        client.connection.send_event("pusher:signin", signed)
        _, success = said.get(timeout=PATIENCE)
        success = success if isinstance(success, dict) else json.loads(success)
        self.assertEqual(success["user_data"], signed["user_data"])
        said = heard(client.connection, "event")
        # The path that this library sends has no app in it.
        self.assertEqual(self.library.terminate_user_connections("ada"), {})
        self.site.wait("Ada is out", lambda: client.connection.state != "connected")

    def test_signatures_open_what_they_are_for(self):
        client = self.site.client()
        member = {"user_id": "é\"\\ {}", "user_info": {"name": "Ada"}}
        signed = self.library.authenticate("presence-signed", client.connection.socket_id, member)
        client.connection.send_event("pusher:subscribe", {"channel": "presence-signed", **signed})
        self.site.wait("it is in", lambda: self.library.users_info("presence-signed") == {"users": [{"id": member["user_id"]}]})

    def test_webhooks(self):
        taken = queue.Queue()
        library = self.library

        class Hook(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                taken.put(library.validate_webhook(self.headers["X-Pusher-Key"], self.headers["X-Pusher-Signature"], body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/hook"
        site = Site(more=f'[[apps.webhooks]]\nurl = "{url}"\nevents = ["channel_occupied"]')
        try:
            site.client().subscribe("news")
            hook = taken.get(timeout=PATIENCE)
            self.assertEqual(hook["events"], [{"name": "channel_occupied", "channel": "news"}])
        finally:
            site.end()
            server.shutdown()
            server.server_close()


class LibraryBehindAPrefix(Library):
    """The library has no option for a prefix: it sends to a server with one what it sends to any other."""

    path = "/live"


class Client(WithSite):
    def test_events(self):
        client = self.site.client({"user_id": 10, "user_info": {"name": "Mr. Channels"}})
        for name in ("told", "private-told", "presence-told", "cache-told"):
            said = heard(self.subscribe(client, name), "event")
            self.library.trigger(name, "event", {"name": name})
            self.assertEqual(json.loads(said.get(timeout=PATIENCE)[1]), {"name": name})
            client.unsubscribe(name)
            self.site.wait("no member is left", lambda name=name: not self.library.channel_info(name)["occupied"])
        self.assertEqual(self.library.channel_info("presence-told"), {"occupied": False})

    def test_presence(self):
        ada, bob = (self.site.client({"user_id": id, "user_info": {"name": id}}) for id in ("ada", "bob"))
        room = self.subscribe(ada, "presence-room")
        said = heard(room, "pusher_internal:member_added", "pusher_internal:member_removed", "client-hi")
        bobs = self.subscribe(bob, "presence-room")
        event, data = said.get(timeout=PATIENCE)
        self.assertEqual((event, json.loads(data)), ("pusher_internal:member_added", {"user_id": "bob", "user_info": {"name": "bob"}}))
        bobs.trigger("client-hi", {"n": 1})
        self.assertEqual(said.get(timeout=PATIENCE), ("client-hi", {"n": 1}))
        bob.unsubscribe("presence-room")
        event, data = said.get(timeout=PATIENCE)
        self.assertEqual((event, json.loads(data)), ("pusher_internal:member_removed", {"user_id": "bob"}))

    def test_a_refused_subscription_leaves_it_connected(self):
        client = self.site.client()
        said = heard(client.connection, "pusher:error")
        client.subscribe("private-secret", auth=f"{APP['key']}:00")
        _, error = said.get(timeout=PATIENCE)
        self.assertIsNone(error["code"])
        self.subscribe(client, "news")
        self.assertEqual(client.connection.state, "connected")

    def test_it_comes_back_after_a_restart(self):
        first = Site()
        client = first.client(auto_sub=True)
        said = heard(client.subscribe("news"), "event")
        library = first.library()
        self.site.wait("it is subscribed", lambda: library.channel_info("news")["occupied"])
        first.stop()
        second = Site(port=first.port)
        try:
            self.site.wait("it is subscribed again", lambda: library.channel_info("news")["occupied"])
            library.trigger("news", "event", "again")
            self.assertEqual(said.get(timeout=PATIENCE), ("event", "again"))
        finally:
            first.end()
            second.end()


if __name__ == "__main__":
    unittest.main()
