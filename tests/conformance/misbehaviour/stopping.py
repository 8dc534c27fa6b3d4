"""A daemon that is stopped while clients misbehave: they get their time, and not more."""

import contextlib
import time

import asking
import wire
from case import SLACK_SECONDS, Wrong
from reading import FILLING_SECONDS, LEAST_BYTES, fill
from setting import BODY_SECONDS


def stop(work):
    """How long it took."""
    with contextlib.ExitStack() as stack:
        def client(kind, octets=b"", receive_bytes=None):
            connection = stack.enter_context(wire.connect(kind.address, receive_bytes=receive_bytes))
            connection.sendall(octets)
            return connection

        for kind in work.kinds.values():
            request = kind.request()
            client(kind)
            client(kind, request.head()[:-1])
            client(kind, request.whole()[:-1])
            client(kind, request.coded(b"transfer-encoding: chunked", body=b"1\r\n "))
        for kind in work.kinds.values():
            if kind.large:
                fill(client(kind, receive_bytes=LEAST_BYTES), kind.large())
        began = time.monotonic()
        work.house.daemon.stop()
        seconds = time.monotonic() - began
    most = FILLING_SECONDS + BODY_SECONDS + SLACK_SECONDS
    if seconds > most:
        raise Wrong(f"stopped after {seconds:.1f} s, expected {most} at most")
    return f"stopped among them after {seconds:.1f} s of at most {most}"
