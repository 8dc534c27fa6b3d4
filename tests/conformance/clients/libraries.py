"""Others sign what the program verifies: the libraries of Standard Webhooks from npm and PyPI.

They and the example clients make the published signatures and agree on others; the daemon accepts events and documents
that the libraries signed, with keys of every length. Whatever of a signed request is altered, the answer is the same
401; that this is so of each byte, and which of several signatures count, are unit tests. The library of npm is
installed below target/, as its lock file says, where it is not there yet; that of PyPI is one of the tools of
tests/run.
"""

import base64
import hashlib
import hmac
import json
import pathlib
import subprocess
import time
from collections import Counter

import callers
import events
import npm
import suite
from callers import LANGUAGES, environment
from daemon import FILES, KEYS, NEVER, Connection, Daemon
from suite import expect

HERE, MODULES = pathlib.Path(__file__).resolve().parent, suite.TARGET / "signatures"
# What signs a line of JSON. Where there is no virtual environment the packages of Python lie in TOOLS itself.
LIBRARIES = {
    "npm": ["node", HERE / "sign.mjs", MODULES],
    "PyPI": ["env", f"PYTHONPATH={suite.TOOLS}", suite.python(), HERE / "sign.py"],
}
# Secret, id, time-stamp, payload and signature, as they were published.
PUBLISHED = (
    (
        "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", 1649367553,
        '{"email":"test@example.com","username":"test_user"}', "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
    ),
    (
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330,
        '{"test": 2432232314}', "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    ),
)
# The shortest, the usual and the longest; 33 bytes are padded otherwise than 32.
KEY_BYTES = (24, 32, 33, 64)


def work(directory):
    """The figures."""
    npm.installed(HERE, MODULES)
    figures = Counter(alike())
    with a_daemon(directory) as daemon:
        figures.update(accepted(daemon) | altered(daemon))
        expect("faults of its own in the daemon's log", daemon.errors(), [])
    return figures


def sign(library, secret, name, timestamp, payload):
    asked = {"secret": secret, "id": name, "timestamp": timestamp, "payload": payload}
    command = LIBRARIES[library]
    return subprocess.check_output(command, input=json.dumps(asked), text=True, env=environment()).strip()


def key(sender, length):
    """Not random, so that a failure comes again. Both `+` and `/` occur in the base64 of some."""
    return hashlib.shake_256(f"{sender} {length}".encode()).digest(length)


def a_daemon(directory):
    """Its senders have a secret of each length."""
    daemon = Daemon(directory, FILES, NEVER)
    for sender in KEYS:
        with open(daemon.secret_file(sender), "a") as file:
            file.writelines(f"{secret(sender, length)}\n" for length in KEY_BYTES)
    return daemon


def secret(sender, length):
    return "whsec_" + base64.b64encode(key(sender, length)).decode()


def signature(of, name, timestamp, payload):
    """By Python's own HMAC, with the bytes of a key."""
    mac = hmac.digest(of, f"{name}.{timestamp}.".encode() + payload, hashlib.sha256)
    return "v1," + base64.b64encode(mac).decode()


def alike():
    """All who sign make the published signatures, and the same of texts beyond ASCII with other keys."""
    cases = list(PUBLISHED)
    for length in KEY_BYTES:
        payload = json.dumps({"name": "Müller & Söhne, 50 €", "of": length}, ensure_ascii=False)
        right = signature(key("portal", length), "msg_1", 1764144000, payload.encode())
        cases.append((secret("portal", length), "msg_1", 1764144000, payload, right))
    for of, name, timestamp, payload, right in cases:
        for library in LIBRARIES:
            expect(f"signature by {library}", sign(library, of, name, timestamp, payload), right)
        for language in LANGUAGES:
            made = callers.signature(language, of, name, str(timestamp), payload)
            expect(f"signature by client.{language}", made, right)
    return {f"signatures made alike by npm, PyPI and {len(LANGUAGES)} clients": len(cases)}


def pushed(daemon, method, path, name, timestamp, signature, body):
    """Status and answer of a request whose every part can be chosen."""
    headers = {"content-type": "application/json", "webhook-id": name, "webhook-timestamp": timestamp}
    return Connection().ask(daemon.address, method, path, body, {**headers, "webhook-signature": signature})


def account(name):
    addresses = ["erika@muster.example"]
    return events.event("account.updated", events.account(name, 1, addresses, name="Müller & Söhne"))


def accepted(daemon):
    """What the libraries sign is done: an account, its document and its invoice for each and each key."""
    count = 0
    for library in LIBRARIES:
        for length in KEY_BYTES:
            name = f"K-{library}-{length}"
            document = f"%PDF-1.4 {name}".encode()
            digest = events.digest(document)
            invoice = events.invoice(name, "RE-2026/0042", [events.document(digest)])
            for of, method, path, payload, body, result in (
                ("portal", "POST", "/v1/events", account(name), None, "applied"),
                ("billing", "PUT", f"/v1/documents/{digest}", digest.encode(), document, "stored"),
                ("billing", "POST", "/v1/events", events.event("invoice.issued", invoice), None, "applied"),
            ):
                timestamp = int(time.time())
                event = f"evt_{library}_{length}_{result}_{of}"
                signed = sign(library, secret(of, length), event, timestamp, payload.decode())
                _, answer = pushed(daemon, method, path, event, str(timestamp), signed, body or payload)
                expect(f"{method} signed by {library} with {length} bytes", answer.get("result"), result)
                count += 1
            expect(f"the name of {name}", daemon.ask("account", name)["name"], "Müller & Söhne")
            shown = daemon.ask("invoice", name, "RE-2026/0042")
            expect(f"the invoice of {name}", (shown["state"], shown["recipient"]["kind"]), ("waiting", "main_contact"))
    return {"requests accepted that the libraries signed": count}


def altered(daemon):
    """A request that differs from a signed one is refused, and no answer tells where it differs."""
    event, timestamp, body = "evt_Altered-1", str(int(time.time())), account("K-altered")
    signed = signature(key("portal", 32), event, timestamp, body)
    request = ["POST", "/v1/events", event, timestamp, signed, body]
    changes = [
        (2, event.lower()), (3, str(int(timestamp) - 1)), (4, signed.swapcase()), (5, body.replace(b"K-", b"k-")),
        (4, signature(bytes(32), event, timestamp, body)),
    ]
    for place, value in changes:
        status, answer = pushed(daemon, *request[:place], value, *request[place + 1:])
        answer.pop("request_id", None)
        expect(f"the answer to an altered event: {value}", (status, answer), (401, BLAND))
    # It was all due to the alterations.
    expect("the event that is not altered", pushed(daemon, *request)[1].get("result"), "applied")
    return {"altered requests refused": len(changes)}


BLAND = {
    "type": "urn:invoice-router:problem:signature_invalid", "title": "The signature is not valid", "status": 401,
    "code": "signature_invalid", "retryable": False,
    "detail": "expected the three headers of Standard Webhooks, signed with a known secret",
}
