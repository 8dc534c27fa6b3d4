"""Clients who take their time, or never come to an end."""

from asking import ADMIN, ALL, DOCUMENT, EVENT
from bodies import CHUNKED, EXPECT, unsigned
from case import CLOSED, CONTINUE, GOOD, NOT_FOUND, SLACK_SECONDS, TIME_OUT, UNSIGNED, Case
from setting import BODY_SECONDS, HEADER_SECONDS
from wire import answered, slowly

# What is left of a body that is not wanted is taken in for a while, so that whoever only sends gets to read the answer.
DISCARD_SECONDS = 1


def after(seconds, answers, spoilt, kinds=ALL):
    """The connection ends by this limit, and not before."""
    return [
        Case(name, spoil, answers, CLOSED, kinds, seconds, seconds + SLACK_SECONDS) for name, spoil in spoilt.items()
    ]


def head_slowly(pause_seconds):
    return lambda request: slowly(request.whole(), pause_seconds)


def body_slowly(pause_seconds, spoil=lambda head: head, line=None):
    return lambda request: [spoil(request.head(line=line)), *slowly(request.body, pause_seconds)]


def chunks_slowly(octets):
    """What comes after a header that announces chunks, over and over."""
    return lambda request: [request.coded(CHUNKED, body=b""), *[octets, 0.2] * 100]


SILENT = (
    *after(HEADER_SECONDS, (), {"nothing": lambda _: []}),
    *after(HEADER_SECONDS, (GOOD,), {"nothing after an answer": lambda request: request.whole()}),
)
HEAD = (
    *after(HEADER_SECONDS, (TIME_OUT,), {
        "one byte": lambda _: b"P",
        "an empty line": lambda _: b"\r\n",
        "one byte a second": head_slowly(1.0),
        "twenty bytes a second": head_slowly(0.05),
        "all of the header but one byte": lambda request: request.head()[:-1],
        "a field every tenth of a second": lambda request: [request.head()[:-2], *[b"x-note: a\r\n", 0.1] * 90],
    }),
    *after(HEADER_SECONDS, (GOOD, TIME_OUT), {
        "one byte a second after an answer": lambda request: [request.whole(), answered(1), *slowly(request.head())],
    }),
)
BODY = (
    *after(BODY_SECONDS, (TIME_OUT,), {
        "no body": lambda request: request.head(),
        "one byte a second": body_slowly(1.0),
        "ten bytes a second": body_slowly(0.1),
        "all but one byte": lambda request: request.whole()[:-1],
        "less than announced": lambda request: request.length_is(b"%d" % (len(request.body) + 1)),
        "no chunk": lambda request: request.coded(CHUNKED, body=b""),
        "chunks of one byte": chunks_slowly(b"1\r\n \r\n"),
        "a chunk of 16 EiB": lambda request: request.coded(CHUNKED, body=b"f" * 16 + b"\r\n    "),
        "zeros before a size": chunks_slowly(b"0"),
        "an extension for ever": lambda request: [request.coded(CHUNKED, body=b"1;"), *slowly(b"a" * 100, 0.1)],
        "trailers for ever": lambda request: [request.chunked()[:-2], *[b"x-note: a\r\n", 0.1] * 90],
    }),
    *after(BODY_SECONDS, (CONTINUE, TIME_OUT), {
        "100-continue and no body": lambda request: request.head(EXPECT),
        "100-continue, one byte a second": lambda request: [request.head(EXPECT), answered(1), *slowly(request.body)],
    }),
)
UNWANTED = (
    *after(
        DISCARD_SECONDS, (NOT_FOUND,), {"no such resource": body_slowly(0.2, line=b"POST /v1/nothing HTTP/1.1")},
        (EVENT, DOCUMENT, *ADMIN)
    ),
    *after(DISCARD_SECONDS, (UNSIGNED,), {"unsigned": body_slowly(0.2, unsigned)}, (DOCUMENT,)),
)
