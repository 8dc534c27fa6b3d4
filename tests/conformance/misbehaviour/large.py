"""More bytes at once than the daemon has memory for."""

import collections
from concurrent.futures import ThreadPoolExecutor

import asking
import wire
from case import SLACK_SECONDS
from setting import BODY_SECONDS, EVENT_BODY_BYTES, PEERS
from suite import Wrong, wait_until

# The first ones take half of what all large bodies share. The others want three times as much.
FIRST, OTHERS = 16, 48
# Each sends a piece, and another one after a pause: it is memory that is to run out, not time.
PIECE_BYTES, PAUSE_SECONDS = 128 * 1024, 0.03


def large_event(work):
    """Blanks behind it make it so."""
    request = asking.event()
    body = request.body + b" " * (EVENT_BODY_BYTES - len(request.body))
    return asking.post("/v1/events", body, 200, request.about, asking.signed("portal", body))


def one_client(work, request, sent, number):
    """All but the last byte, which a signature is not needed for: how it ends."""
    # The others begin once all of the first ones have sent all that they will.
    if number >= FIRST and not wait_until(lambda: len(sent) == FIRST, BODY_SECONDS, 0.01):
        raise Wrong(f"large bodies: only {len(sent)} of the first {FIRST} were sent in {BODY_SECONDS} s")
    steps = [request.head()]
    for begin in range(0, EVENT_BODY_BYTES, PIECE_BYTES):
        steps += [request.body[begin:begin + PIECE_BYTES], PAUSE_SECONDS]
    steps[-2] = steps[-2][:-1]
    if number < FIRST:
        steps.append(lambda _: sent.append(number) or True)
    kind = work.kinds[asking.EVENT]
    with wire.connect(kind.address, PEERS[number]) as connection:
        heard = wire.converse(connection, steps, None, 2 * BODY_SECONDS + SLACK_SECONDS)
    if not heard.closed or len(heard.answers) != 1:
        raise Wrong(f"large body {number}: {heard}")
    return heard.answers[0].code


def at_once(work):
    """The first ones are read as far as they go, and no farther than their time. Of the others, those for whom there is
    no room are told to come again. Then there is room again."""
    request, sent = large_event(work), []
    with ThreadPoolExecutor(FIRST + OTHERS) as pool:
        codes = list(pool.map(lambda number: one_client(work, request, sent, number), range(FIRST + OTHERS)))
    first, others = collections.Counter(codes[:FIRST]), collections.Counter(codes[FIRST:])
    if set(first) != {"time_out"} or not others["busy"] or set(others) - {"time_out", "busy"}:
        raise Wrong(f"large bodies: of the first {dict(first)}, of the others {dict(others)}")
    came = wire.ask(work.kinds[asking.EVENT].address, large_event(work).whole(), BODY_SECONDS, PEERS[0])
    if came != [200]:
        raise Wrong(f"a large body afterwards: {came}")
    return f"{others['busy']} of {FIRST + OTHERS} told to come again"
