"""The events that suites push, as small as they may be, and how they are signed; what a suite wants otherwise it names.
The proof of signatures in the clients' suite, which is about this very thing, signs by itself."""

import base64
import hashlib
import hmac
import json
import time
from datetime import UTC, datetime


def now():
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def event(kind, data, timestamp=None):
    """The bytes that are signed and sent."""
    return json.dumps({"type": kind, "timestamp": timestamp or now(), "data": data}, ensure_ascii=False).encode()


def account(account, version, addresses, **more):
    contact = {"name": "Erika Muster", "addresses": addresses}
    return {
        "account": account, "version": version, "main_contact": contact, "sub_users": [], "billing_contact": None, **more,
    }


def invoice(account, number, documents, **more):
    return {
        "account": account, "number": number, "kind": "invoice", "issued_on": "2026-11-23",
        "total": {"amount": "119.00", "currency": "EUR"}, "release": "scheduled", "documents": documents, **more,
    }


def document(content, name="Rechnung.pdf", media_type="application/pdf"):
    """As an event names it, with its bytes inside; of one that was uploaded, `content` is the digest."""
    if isinstance(content, str):
        source = {"sha256": content}
    else:
        source = {"content_base64": base64.b64encode(content).decode()}
    return {**source, "file_name": name, "media_type": media_type}


def digest(content):
    return hashlib.sha256(content).hexdigest()


def signed(key, name, payload):
    """The three headers of Standard Webhooks, of a request with this id; `payload` are the bytes that are signed."""
    seconds = str(int(time.time()))
    mac = hmac.digest(key, f"{name}.{seconds}.".encode() + payload, hashlib.sha256)
    return {
        "webhook-id": name, "webhook-timestamp": seconds, "webhook-signature": "v1," + base64.b64encode(mac).decode(),
    }
