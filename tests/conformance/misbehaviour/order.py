"""Many requests at once, and who says when it ends."""

from asking import EVENT, get
from bodies import EXPECT, unsigned
from case import CLOSED, CONTINUE, GOOD, INCOMPLETE, KEPT, NOT_FOUND, UNSIGNED, Case, cases
from wire import answered, half_close

PIPELINED = 50
# For so many requests, each of which may wait for the disk.
MANY_SECONDS = 20


def pipelined(request):
    return b"".join(request.another().whole() for _ in range(PIPELINED))


def mixed(request):
    """What is refused in between does not hinder the next."""
    refused = get("/v1/nothing", request.kind.token)
    return request.whole() + refused + request.another().whole() + refused * 2 + request.another().whole()


def unsigned_between(request):
    spoilt = unsigned(request.whole())
    return spoilt + request.another().whole() + spoilt


def closing(value):
    return {f"Connection: {value}": lambda request: request.whole(b"connection: " + value)}


def half_closed(*octets):
    return lambda request: [*(part(request) for part in octets), half_close]


CASES = (
    Case("pipelined", pipelined, (GOOD,) * PIPELINED, KEPT, within=MANY_SECONDS),
    *cases((GOOD, NOT_FOUND, GOOD, NOT_FOUND, NOT_FOUND, GOOD), KEPT, {"with what is refused in between": mixed}),
    *cases((UNSIGNED, GOOD, UNSIGNED), KEPT, {"pipelined, unsigned around it": unsigned_between}, (EVENT,)),
    *cases((GOOD,), CLOSED, {
        **closing(b"close"), **closing(b"Close"), **closing(b"keep-alive, close"),
        **closing(b"close\r\nconnection: keep-alive"),
    }),
    *cases((GOOD,), KEPT, closing(b"keep-alive")),
)
HALF_CLOSED = (
    *cases((), CLOSED, {
        "nothing": half_closed(), "half a head": half_closed(lambda request: request.head()[:-20]),
    }),
    *cases((GOOD,), CLOSED, {
        "a request": half_closed(lambda request: request.whole()),
        "a request in chunks": half_closed(lambda request: request.chunked()),
        "a request, a moment before": lambda request: [request.head(), request.body, half_close],
        "a request and half a head": half_closed(lambda request: request.whole(), lambda request: request.head()[:20]),
        "after the answer": lambda request: [request.whole(), answered(1), half_close],
    }),
    *cases((GOOD,) * 3, CLOSED, {"three requests": half_closed(*(lambda request: request.another().whole(),) * 3)}),
    *cases((INCOMPLETE,), CLOSED, {"half a body": half_closed(lambda request: request.whole()[:-10])}),
    *cases((CONTINUE, INCOMPLETE), CLOSED, {
        "after 100 Continue": lambda request: [request.head(EXPECT), answered(1), half_close],
    }),
)
