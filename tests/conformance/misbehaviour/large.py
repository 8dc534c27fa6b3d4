"""More bytes at once than the daemon has memory for."""

import collections
import threading
from concurrent.futures import ThreadPoolExecutor

import asking
import wire
from case import SLACK_SECONDS
from setting import BODY_SECONDS, EVENT_BODY_BYTES, PEERS
from suite import Wrong

# The first ones take half of what all large bodies share. The others want three times as much.
FIRST, OTHERS = 16, 48
# Each sends a piece, and another one after a pause: it is memory that is to run out, not time.
PIECE_BYTES, PAUSE_SECONDS = 128 * 1024, 0.03


def large_event(work):
    """Blanks behind it make it so."""
    request = work.senders.event()
    body = request.body + b" " * (EVENT_BODY_BYTES - len(request.body))
    return work.senders.post("/v1/events", body, 200, request.about, work.senders.signed("portal", body))


class Turns:
    """The others begin once all of the first ones have sent all that they will."""

    def __init__(self):
        self.left, self.lock, self.others_turn = FIRST, threading.Lock(), threading.Event()

    def one_is_through(self):
        with self.lock:
            self.left -= 1
            if self.left == 0:
                self.others_turn.set()


def one_client(work, request, turns, number):
    """All but the last byte, which a signature is not needed for: how it ends."""
    if number >= FIRST and not turns.others_turn.wait(BODY_SECONDS):
        raise Wrong(f"large bodies: {turns.left} of the first {FIRST} were not sent in {BODY_SECONDS} s")
    steps = [request.head()]
    for begin in range(0, EVENT_BODY_BYTES, PIECE_BYTES):
        steps += [request.body[begin:begin + PIECE_BYTES], PAUSE_SECONDS]
    steps[-2] = steps[-2][:-1]
    if number < FIRST:
        steps.append(wire.tell(turns.one_is_through))
    kind = work.kinds[asking.EVENT]
    with wire.connect(kind.address, PEERS[number]) as connection:
        heard = wire.converse(connection, steps, None, 2 * BODY_SECONDS + SLACK_SECONDS)
    if not heard.closed or len(heard.answers) != 1:
        raise Wrong(f"large body {number}: {heard}")
    return heard.answers[0].code


def at_once(work):
    """The first ones are read as far as they go, and no farther than their time. Of the others, those for whom there is
    no room are told to come again. Then there is room again."""
    request, turns = large_event(work), Turns()
    with ThreadPoolExecutor(FIRST + OTHERS) as pool:
        codes = list(pool.map(lambda number: one_client(work, request, turns, number), range(FIRST + OTHERS)))
    first, others = collections.Counter(codes[:FIRST]), collections.Counter(codes[FIRST:])
    if set(first) != {"time_out"} or not others["busy"] or set(others) - {"time_out", "busy"}:
        raise Wrong(f"large bodies: of the first {dict(first)}, of the others {dict(others)}")
    kind = work.kinds[asking.EVENT]
    with wire.connect(kind.address, PEERS[0]) as connection:
        heard = wire.converse(connection, [large_event(work).whole()], 1, BODY_SECONDS)
    if [answer.status for answer in heard.answers] != [200]:
        raise Wrong(f"a large body afterwards: {heard.answers}")
    return f"{others['busy']} of {FIRST + OTHERS} told to come again"
