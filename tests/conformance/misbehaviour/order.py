"""Many requests at once, and who says when it ends."""

from asking import EVENT, get
from case import CLOSED, CONTINUE, GOOD, INCOMPLETE, KEPT, NOT_FOUND, UNSIGNED, Case
from bodies import EXPECT
from setting import REQUESTS_PER_CONNECTION
from wire import HALF_CLOSE, Answered, Pause

PIPELINED, BATCH = 50, 50
# For so many requests, each of which may wait for the disk.
MANY_SECONDS = 20


def pipelined(request):
    return b"".join(request.another().whole() for _ in range(PIPELINED))


def mixed(request):
    """What is refused in between keeps nobody from the next."""
    refused = get("/v1/nothing", request.kind.token)
    return request.whole() + refused + request.another().whole() + refused * 2 + request.another().whole()


def unsigned_between(request):
    spoilt = request.whole().replace(b"v1,", b"v1,AAAA")
    return spoilt + request.another().whole() + spoilt


def many(request):
    """More than one connection may ask, by and by: it is about their number. The first ones are answered before the
    last come, so that nothing is cut off that nobody had read."""
    steps = []
    for count in range(BATCH, REQUESTS_PER_CONNECTION, BATCH):
        steps += [request.kind.probe() * BATCH, Answered(count), Pause(0.1)]
    return [*steps, request.kind.probe() * 2 * BATCH]


def closing(value):
    return lambda request: request.whole(b"connection: " + value)


def half_closed(*octets):
    return lambda request: [*(part(request) for part in octets), HALF_CLOSE]


CASES = (
    Case("pipelined", pipelined, (GOOD,) * PIPELINED, KEPT, within=MANY_SECONDS),
    Case(
        "pipelined, with what is refused in between", mixed, (GOOD, NOT_FOUND, GOOD, NOT_FOUND, NOT_FOUND, GOOD), KEPT
    ),
    Case("pipelined, unsigned around it", unsigned_between, (UNSIGNED, GOOD, UNSIGNED), KEPT, (EVENT,)),

    Case("Connection: close", closing(b"close"), (GOOD,), CLOSED),
    Case("Connection: Close", closing(b"Close"), (GOOD,), CLOSED),
    Case("Connection: close among others", closing(b"keep-alive, close"), (GOOD,), CLOSED),
    Case("Connection: close and keep-alive", closing(b"close\r\nconnection: keep-alive"), (GOOD,), CLOSED),
    Case("Connection: keep-alive", closing(b"keep-alive"), (GOOD,), KEPT),
)
HALF_CLOSED = (
    Case("nothing", half_closed(), (), CLOSED),
    Case("half a head", half_closed(lambda request: request.head()[:-20]), (), CLOSED),
    Case("a request", half_closed(lambda request: request.whole()), (GOOD,), CLOSED),
    Case("a request in chunks", half_closed(lambda request: request.chunked()), (GOOD,), CLOSED),
    Case("a request, a moment before", lambda request: [request.head(), request.body, HALF_CLOSE], (GOOD,), CLOSED),
    Case("three requests", half_closed(*(lambda request: request.another().whole(),) * 3), (GOOD,) * 3, CLOSED),
    Case("half a body", half_closed(lambda request: request.whole()[:-10]), (INCOMPLETE,), CLOSED),
    Case(
        "a request and half a head",
        half_closed(lambda request: request.whole(), lambda request: request.head()[:20]), (GOOD,), CLOSED
    ),
    Case(
        "after 100 Continue",
        lambda request: [request.head(EXPECT), Answered(1), HALF_CLOSE], (CONTINUE, INCOMPLETE), CLOSED
    ),
    Case("after the answer", lambda request: [request.whole(), Answered(1), HALF_CLOSE], (GOOD,), CLOSED),
)
PER_CONNECTION = (
    Case("many", many, (NOT_FOUND,) * REQUESTS_PER_CONNECTION, CLOSED, within=MANY_SECONDS),
)
