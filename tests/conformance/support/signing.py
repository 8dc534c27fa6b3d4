"""What a sender of Standard Webhooks signs with its key. The suites of signatures and clients, which are about this
very thing, sign by themselves."""

import base64
import hashlib
import hmac
import time


def headers(key, name, payload):
    """The three of a request with this id; `payload` are the bytes that are signed."""
    seconds = str(int(time.time()))
    mac = hmac.digest(key, f"{name}.{seconds}.".encode() + payload, hashlib.sha256)
    return {
        "webhook-id": name, "webhook-timestamp": seconds, "webhook-signature": "v1," + base64.b64encode(mac).decode(),
    }
