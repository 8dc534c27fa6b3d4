"""A daemon that is stopped while clients misbehave: they get their time, and not more."""

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import case
import wire
from case import CLOSED, GOOD, SLACK_SECONDS, TIME_OUT, Case
from reading import FILLING_SECONDS, LEAST_BYTES, fill
from setting import BODY_SECONDS
from suite import Wrong

# How long what was sent takes to be accepted, and how long after the signal the rest of a request comes.
ACCEPTED_SECONDS, LATER_SECONDS = 0.3, 0.5


def stop(work):
    """How long it took. Whoever ends a request meanwhile gets its answer, and no client's time is cut short."""
    begun, goes_on = threading.Semaphore(0), threading.Event()

    def half(request, *rest):
        return [request.whole()[:-1], wire.tell(begun.release), *rest]

    def ending(request):
        return half(request, lambda _: goes_on.is_set(), request.whole()[-1:])

    within = BODY_SECONDS + SLACK_SECONDS
    cases = (
        Case("ends its request during the stop", ending, (GOOD,), CLOSED, within=within),
        Case("hangs during the stop", half, (TIME_OUT,), CLOSED, not_before=BODY_SECONDS, within=within),
    )
    pairs = [(one, kind) for one in cases for kind in work.kinds.values()]
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(len(pairs) + 1))

        def client(kind, octets=b"", receive_bytes=None):
            connection = stack.enter_context(wire.connect(kind.address, receive_bytes=receive_bytes))
            connection.sendall(octets)
            return connection

        for kind in work.kinds.values():
            if kind.large:
                fill(client(kind, receive_bytes=LEAST_BYTES), kind.large())
        for kind in work.kinds.values():
            request = kind.request()
            client(kind)
            client(kind, request.head()[:-1])
            client(kind, request.coded(b"transfer-encoding: chunked", body=b"1\r\n "))
        tries = [pool.submit(case.run, *pair) for pair in pairs]
        for _ in pairs:
            begun.acquire(timeout=BODY_SECONDS)
        time.sleep(ACCEPTED_SECONDS)
        began = time.monotonic()
        stopping = pool.submit(work.house.stop)
        time.sleep(LATER_SECONDS)
        goes_on.set()
        stopping.result()
        seconds = time.monotonic() - began
        wrong = [str(error) for error in (one.exception() for one in tries) if error]
    if wrong:
        raise Wrong("\n".join(wrong))
    most = FILLING_SECONDS + BODY_SECONDS + SLACK_SECONDS
    if seconds > most:
        raise Wrong(f"stopped after {seconds:.1f} s, expected {most} at most")
    return f"stopped among them after {seconds:.1f} s of at most {most}"
