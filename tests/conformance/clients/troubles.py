"""A client meets a server that fails: it comes again where that can help, and only there.

The server stands in for the daemon and for whatever may be in between, such as a proxy. It plays a list of
answers, one a request, and keeps what came. Each request must be signed by itself, over the bytes that came.
"""

import base64
import contextlib
import hashlib
import hmac
import json
import os
import re
import shutil
import socket
import struct
import threading
import time
from collections import Counter
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from callers import EXAMPLES, Caller, doctored
from suite import Wrong, expect

KEY = bytes(range(64))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
EVENT = EXAMPLES / "01-account-updated.json"
INVOICE, DOCUMENT = EXAMPLES / "05-invoice-for-the-schedule.json", EXAMPLES / "documents" / "RE-2026-0042.pdf"
DOCUMENT_DIGEST = hashlib.sha256(DOCUMENT.read_bytes()).hexdigest()
# What the URL has before the paths of the daemon, as behind a proxy.
PREFIX = "/billing"
ATTEMPTS = 5
# What a client's time-out is set to where one is to be met, and how long a silent server stays.
TIME_OUT_SECONDS = 8
SILENT_SECONDS = 40
# What a machine that is busy with something else may add to a pause.
BUSY_SECONDS = 25


@dataclass
class Request:
    method: str
    path: str
    headers: dict
    body: bytes
    at: float

    @property
    def id(self):
        return self.headers["webhook-id"]

    @property
    def timestamp(self):
        return int(self.headers["webhook-timestamp"])


def applied(handler):
    handler.answer(200, {"result": "applied", "account": "K-1001", "version": 1, "warnings": [], "in_flight": []})


def stored(handler):
    handler.answer(201, {"sha256": handler.path.rsplit("/", 1)[1], "bytes": 1, "result": "stored"})


def problem(status, code, retryable=False, retry_after=None, **members):
    def play(handler):
        document = {"type": f"urn:invoice-router:problem:{code}", "title": "A title", "status": status, "code": code,
                    "detail": "a sentence", "retryable": retryable, "request_id": "0123456789abcdef", **members}
        more = {} if retry_after is None else {"Retry-After": str(retry_after)}
        handler.answer(status, document, "application/problem+json", **more)
    return play


def page(status, **headers):
    """What is no answer of the daemon."""
    def play(handler):
        handler.answer(status, "<html>a page</html>", "text/html", **headers)
    return play


def close(handler):
    """Hangs up without a word."""
    handler.close_connection = True


def reset(handler):
    """Breaks off, as after a crash."""
    handler.close_connection = True
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def torn(handler):
    """Hangs up in the middle of an answer."""
    handler.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n{"result": "applied", ')
    handler.close_connection = True


def silent(handler):
    """Says nothing until the client listens no more."""
    handler.connection.settimeout(SILENT_SECONDS)
    with contextlib.suppress(OSError):
        handler.connection.recv(1)
    handler.close_connection = True


class Server:
    """Plays these answers, and then that it has no more."""

    def __init__(self, *script):
        self.script = list(script)
        self.requests = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def take(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                server.requests.append(Request(self.command, self.path, headers, body, time.monotonic()))
                played = len(server.requests) - 1
                (server.script[played] if played < len(server.script) else page(418))(self)

            do_POST = do_PUT = do_GET = take

            def answer(self, status, content, kind="application/json", **headers):
                body = (content if isinstance(content, str) else json.dumps(content)).encode()
                self.send_response(status)
                for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def finish(self):
                with contextlib.suppress(OSError, ValueError):
                    super().finish()

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_port}{PREFIX}/"

    def close(self):
        self.http.shutdown()
        self.http.server_close()


def is_signed(request, payload):
    """As Standard Webhooks wants it, over what came."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", request.id):
        raise Wrong(f"the id is {request.id!r}")
    signed = f"{request.id}.{request.timestamp}.".encode() + payload
    mac = base64.b64encode(hmac.digest(KEY, signed, hashlib.sha256)).decode()
    expect("signature", request.headers["webhook-signature"], f"v1,{mac}")
    if abs(time.time() - request.timestamp) > 300:
        raise Wrong(f"the time-stamp is {request.timestamp}")


def came_again(requests, payload, body):
    """Each request with the same id and bytes, signed for itself."""
    for request in requests:
        expect("id", request.id, requests[0].id)
        expect("path", request.path, requests[0].path)
        expect("body", request.body, body)
        is_signed(request, payload)


def waited(requests, *retry_after):
    """At least what was asked for and half of what doubles, and at most all of that, what it took to fail and what a
    busy machine adds. The time-stamp moves along."""
    for number, (one, next_one, asked) in enumerate(zip(requests[:-1], requests[1:], retry_after, strict=True)):
        least, passed = asked + 2**number / 2, next_one.at - one.at
        if passed < least:
            raise Wrong(f"attempt {number + 2} came after {passed:.2f} s in place of {least} s")
        most = asked + 2**number + TIME_OUT_SECONDS + BUSY_SECONDS
        if passed > most:
            raise Wrong(f"attempt {number + 2} came after {passed:.2f} s, and not within {most} s")
        if next_one.timestamp < one.timestamp + int(least):
            raise Wrong(f"the time-stamp of attempt {number + 2} is of the one before")


class Meeting:
    """A client with its secret in a directory of its own, and the server that it meets."""

    def __init__(self, directory, language, server):
        directory.mkdir()
        self.directory, self.language, self.server = directory, language, server
        self.secret_file = directory / "secret"
        self.secret_file.write_text(SECRET + "\n")

    @property
    def requests(self):
        return self.server.requests

    def run(self, *words, **caller):
        return Caller(self.language, self.server.url, self.secret_file, **caller).run(*words)


def busy(it):
    """Whoever asks for time gets it."""
    it.run("event", EVENT).expect(0, "applied", said=["attempt 4: 408"])
    expect("requests", len(it.requests), 5)
    first = it.requests[0]
    expect("request", (first.method, first.path), ("POST", f"{PREFIX}/v1/events"))
    expect("content type", first.headers["content-type"], "application/json")
    came_again(it.requests, EVENT.read_bytes(), EVENT.read_bytes())
    waited(it.requests, 3, 0, 1, 0)


def breaking(it):
    """An answer that does not come says nothing of what became of the request."""
    impatient = doctored(it.language, it.directory, "TIME_OUT_SECONDS", 75, TIME_OUT_SECONDS)
    outcome = it.run("event", EVENT, directory=impatient)
    outcome.expect(0, "applied", said=[f"attempt {number}: " for number in range(1, ATTEMPTS)])
    came_again(it.requests, EVENT.read_bytes(), EVENT.read_bytes())
    expect("requests", len(it.requests), ATTEMPTS)
    waited(it.requests, 0, 0, 0, 0)
    if it.requests[2].at - it.requests[1].at > SILENT_SECONDS:
        raise Wrong("it waits as long as the server is silent")


def document(it):
    """A document is signed over its digest, and sent as it is."""
    own = it.directory / "document"
    # Larger than what curl sends without asking first, and with every byte.
    own.write_bytes(bytes(range(256)) * 8192)
    digest = hashlib.sha256(own.read_bytes()).hexdigest()
    it.run("document", own).expect(0, "stored")
    expect("requests", len(it.requests), 2)
    first = it.requests[0]
    expect("request", (first.method, first.path), ("PUT", f"{PREFIX}/v1/documents/{digest}"))
    came_again(it.requests, digest.encode(), own.read_bytes())


def lost_document(it):
    """The document that is not there any more is uploaded again before the event comes again, under its id."""
    it.run("invoice", INVOICE, DOCUMENT).expect(0, "stored", "stored", "applied")
    expect("methods", [request.method for request in it.requests], ["PUT", "POST", "PUT", "POST"])
    came_again(it.requests[0::2], DOCUMENT_DIGEST.encode(), DOCUMENT.read_bytes())
    came_again(it.requests[1::2], INVOICE.read_bytes(), INVOICE.read_bytes())


def refusing(it):
    """Where the same again would be refused again, there is one request."""
    for number in range(len(it.server.script)):
        outcome = it.run("event", EVENT)
        expect("exit code", outcome.code, 1)
        expect("answers", len(outcome.answers), 1)
        expect(f"requests after answer {number + 1}", len(it.requests), number + 1)
        if number == 0 and not all(word in outcome.said for word in ("invalid", "/data/version", "an integer")):
            raise Wrong(f"does not say what is wrong: {outcome.said}")


def down(it):
    """In the end it gives up, and whoever called it knows that the event is still to be sent."""
    it.run("event", EVENT).expect(3, "draining", said=["gave up"])
    expect("requests", len(it.requests), ATTEMPTS)


def away(it):
    """It will be long until the server is there; then it is away."""
    it.run("event", EVENT).expect(3, "disk_full", said=["gave up"])
    expect("requests", len(it.requests), 1)
    it.server.close()
    it.run("event", EVENT).expect(3, said=[f"attempt {ATTEMPTS}", "gave up"])


def watched(it):
    """Whoever may list the processes reads their arguments: the key is in none, in no form."""
    shims, seen = it.directory / "bin", it.directory / "arguments"
    shims.mkdir()
    seen.touch()
    for name in ("base64", "curl", "cut", "od", "openssl", "sed", "sha256sum", "tr"):
        shim = shims / name
        shim.write_text(f'#!/bin/sh\nprintf "%s\\n" "{name} $*" >>"{seen}"\nexec "{shutil.which(name)}" "$@"\n')
        shim.chmod(0o755)
    it.run("event", EVENT, path=f"{shims}:{os.environ['PATH']}").expect(0, "applied")
    is_signed(it.requests[0], EVENT.read_bytes())
    arguments = seen.read_text()
    if it.language == "sh" and not {"curl ", "openssl "} <= set(re.findall(r"^\w+ ", arguments, re.M)):
        raise Wrong(f"the commands were not watched: {arguments}")
    for key in (KEY, bytes(byte ^ 0x36 for byte in KEY), bytes(byte ^ 0x5C for byte in KEY)):
        for written in (base64.b64encode(key).decode(), key.hex(), "".join(f"\\x{byte:02x}" for byte in key)):
            if written[8:40] in arguments:
                raise Wrong(f"the key is among the arguments: {arguments}")


def play(case, directory, language):
    """The figures."""
    server = Server(*SCRIPTS[case])
    try:
        case(Meeting(directory, language, server))
    finally:
        server.close()
    return Counter({"requests to a failing server": len(server.requests)})


# What the server answers in each.
SCRIPTS = {
    busy: [
        problem(503, "busy", True, 3), close, problem(429, "too_many_requests", True, 1),
        problem(408, "time_out", True), applied,
    ],
    breaking: [torn, silent, reset, page(502), applied],
    document: [page(500), stored],
    lost_document: [
        stored, problem(409, "document_missing", True, errors=[], missing=[DOCUMENT_DIGEST]), stored, applied,
    ],
    refusing: [
        problem(422, "invalid", errors=[{"pointer": "/data/version", "expected": "an integer"}]),
        problem(409, "version_conflict"), problem(401, "signature_invalid"), problem(413, "too_large", retry_after=1),
        page(404), page(307, Location="/elsewhere"), page(200),
    ],
    down: [problem(503, "draining", True)] * (ATTEMPTS + 1),
    away: [problem(503, "disk_full", True, 3600)],
    watched: [applied],
}
