"""Clients who do not take their answers, or take them slowly."""

import contextlib
import select
import time

import asking
import wire
from bodies import CHUNKED
from case import SLACK_SECONDS
from daemon import PATIENCE_SECONDS
from setting import BODY_SECONDS, PEERS
from suite import Broken, Wrong

# As little room for what comes as the kernel grants.
LEAST_BYTES = 1
# Once nothing more could be sent for so long, each side waits for the other; on a busy machine the daemon may pause.
STUCK_SECONDS = 1.0
# What the daemon has received by then it answers, until the way back is full: hundreds of large answers.
FILLING_SECONDS = 10
PAGES, SIP_BYTES, SIP_SECONDS = 12, 64 * 1024, 0.05


def fill_page(work):
    kind = work.kinds[asking.EVENT]
    for account in (*asking.FIRST_ACCOUNTS, asking.HIDDEN_PAUSE):
        if (came := wire.ask(kind.address, asking.event(account).whole(), PATIENCE_SECONDS)) != [200]:
            raise Broken(f"an event that is good is not taken: {came}")


def never(kind, index):
    """Asks until no more is taken, and never reads. The daemon ends it in the time that a client has for a part of an
    answer, and with bytes unread, which is a reset."""
    return unread(kind, index, lambda connection: None)


def sips(kind, index):
    """Reads a byte now and then: too little for the kernel to ask for more."""
    def sip(connection):
        connection.setblocking(False)
        try:
            connection.recv(1)
        except OSError:
            pass
    # What its side takes in by and by is progress, which begins the time anew, once or twice in so long.
    return unread(kind, index, sip, 2 * BODY_SECONDS)


def unread(kind, index, meanwhile, more_seconds=0):
    request = kind.large()
    with wire.connect(kind.address, PEERS[index], LEAST_BYTES) as connection:
        began = time.monotonic()
        stuck_at = fill(connection, request)
        poll = select.poll()
        poll.register(connection, select.POLLRDHUP)
        until = stuck_at + FILLING_SECONDS + BODY_SECONDS + SLACK_SECONDS + more_seconds
        while not (ended := poll.poll(100)) and time.monotonic() < until:
            meanwhile(connection)
        now = time.monotonic()
    what = f"asked for {stuck_at - began:.1f} s and did not read ({kind.name})"
    if not ended:
        raise Wrong(f"{what}: open {now - stuck_at:.1f} s later")
    if now - stuck_at < BODY_SECONDS - STUCK_SECONDS:
        raise Wrong(f"{what}: ended {now - stuck_at:.1f} s later already")
    return now - stuck_at


def fill(connection, request):
    """Sends one request after the other, each whole, until nothing more is taken; says since when."""
    connection.settimeout(STUCK_SECONDS)
    stuck_at = time.monotonic()
    requests = left = memoryview(request * 100)
    try:
        while True:
            left = left[connection.send(left):] or requests
            stuck_at = time.monotonic()
    except TimeoutError:
        pass
    except OSError:
        # Ended while it was being filled.
        pass
    return stuck_at


def slowly(kind, index):
    """Takes much of a large answer, slowly, but never nothing for long: gets all of it."""
    request = asking.get(asking.PAGE, kind.token)
    last = asking.get(asking.PAGE, kind.token, b"connection: close")
    came = bytearray()
    began = time.monotonic()
    with wire.connect(kind.address, PEERS[index], SIP_BYTES) as connection:
        connection.sendall(request * (PAGES - 1) + last)
        while octets := connection.recv(SIP_BYTES):
            came += octets
            time.sleep(SIP_SECONDS)
    seconds = time.monotonic() - began
    answers, rest = wire.all_answers(memoryview(came).tobytes())
    statuses = [answer.status for answer in answers]
    if statuses != [200] * PAGES or rest:
        raise Wrong(f"read slowly ({kind.name}): {len(came)} bytes in {seconds:.1f} s: {statuses} {rest[:80]}")
    return seconds


def stop(work):
    """The daemon is stopped among clients who read nothing, say nothing or end nothing: they get their time, and not
    more."""
    with contextlib.ExitStack() as stack:
        for kind in work.kinds.values():
            if kind.large:
                fill(stack.enter_context(wire.connect(kind.address, receive_bytes=LEAST_BYTES)), kind.large())
        for kind in work.kinds.values():
            request = kind.request()
            begun = [b"", request.head()[:-1], request.whole()[:-1], request.coded(CHUNKED, body=b"1\r\n ")]
            for octets in begun:
                stack.enter_context(wire.connect(kind.address)).sendall(octets)
        began = time.monotonic()
        work.house.stop()
        seconds = time.monotonic() - began
    most = FILLING_SECONDS + BODY_SECONDS + SLACK_SECONDS
    if seconds > most:
        raise Wrong(f"stopped after {seconds:.1f} s, expected {most} at most")
    return f"stopped among them after {seconds:.1f} s of at most {most}"
