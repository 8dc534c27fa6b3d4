"""Clients who take their time, or never come to an end."""

from asking import ADMIN, DOCUMENT, EVENT
from bodies import CHUNKED, EXPECT
from case import (
    CLOSED, CONTINUE, GOOD, NOT_FOUND, SLACK_SECONDS, TIME_OUT, UNSIGNED, Case, after_body_time, after_header_time,
)
from wire import Answered, Pause, Slowly

DISCARD_SECONDS = 1


def head_slowly(pause_seconds):
    return lambda request: [Slowly(request.whole(), pause_seconds)]


def body_slowly(pause_seconds):
    return lambda request: [request.head(), Slowly(request.body, pause_seconds)]


def chunks_slowly(octets, pause_seconds=0.2):
    """What comes after a header that announces chunks, over and over."""
    return lambda request: [request.coded(CHUNKED, body=b""), *[octets, Pause(pause_seconds)] * 100]


def after_a_head(line=None, spoil=lambda head: head):
    return lambda request: [spoil(request.head(line=line)), Slowly(request.body, 0.2)]


def unwanted(name, spoil, answers, kinds):
    """What is left of the body is taken in for a while, so that whoever only sends gets to read the answer."""
    return Case(name, spoil, answers, CLOSED, kinds, DISCARD_SECONDS, DISCARD_SECONDS + SLACK_SECONDS)


SILENT = (
    after_header_time("nothing", lambda _: [], ()),
    after_header_time("nothing after an answer", lambda request: request.whole(), (GOOD,)),
)
HEAD = (
    after_header_time("one byte", lambda _: b"P", (TIME_OUT,)),
    after_header_time("an empty line", lambda _: b"\r\n", (TIME_OUT,)),
    after_header_time("one byte a second", head_slowly(1), (TIME_OUT,)),
    after_header_time("twenty bytes a second", head_slowly(0.05), (TIME_OUT,)),
    after_header_time("all of the header but one byte", lambda request: request.head()[:-1], (TIME_OUT,)),
    after_header_time(
        "a field every tenth of a second",
        lambda request: [request.head()[:-2], *[b"x-note: a\r\n", Pause(0.1)] * 90], (TIME_OUT,)
    ),
    after_header_time(
        "one byte a second after an answer",
        lambda request: [request.whole(), Answered(1), Slowly(request.head())], (GOOD, TIME_OUT)
    ),
)
BODY = (
    after_body_time("no body", lambda request: request.head(), (TIME_OUT,)),
    after_body_time("one byte a second", body_slowly(1), (TIME_OUT,)),
    after_body_time("ten bytes a second", body_slowly(0.1), (TIME_OUT,)),
    after_body_time("all but one byte", lambda request: request.whole()[:-1], (TIME_OUT,)),
    after_body_time(
        "less than announced", lambda request: request.length_is(b"%d" % (len(request.body) + 1)), (TIME_OUT,)
    ),
    after_body_time("100-continue and no body", lambda request: request.head(EXPECT), (CONTINUE, TIME_OUT)),
    after_body_time(
        "100-continue and one byte a second",
        lambda request: [request.head(EXPECT), Answered(1), Slowly(request.body)], (CONTINUE, TIME_OUT)
    ),
    after_body_time("no chunk", lambda request: request.coded(CHUNKED, body=b""), (TIME_OUT,)),
    after_body_time("chunks of one byte", chunks_slowly(b"1\r\n \r\n"), (TIME_OUT,)),
    after_body_time(
        "a chunk of 16 EiB", lambda request: request.coded(CHUNKED, body=b"f" * 16 + b"\r\n    "), (TIME_OUT,)
    ),
    after_body_time("zeros before a size", chunks_slowly(b"0"), (TIME_OUT,)),
    after_body_time(
        "an extension for ever",
        lambda request: [request.coded(CHUNKED, body=b"1;"), Slowly(b"a" * 100, 0.1)], (TIME_OUT,)
    ),
    after_body_time(
        "trailers for ever",
        lambda request: [request.chunked()[:-2], *[b"x-note: a\r\n", Pause(0.1)] * 90], (TIME_OUT,)
    ),
)
UNWANTED = (
    unwanted("no such resource", after_a_head(b"POST /v1/nothing HTTP/1.1"), (NOT_FOUND,), (EVENT, DOCUMENT, *ADMIN)),
    unwanted("unsigned", after_a_head(spoil=lambda head: head.replace(b"v1,", b"v1,AAAA")), (UNSIGNED,), (DOCUMENT,)),
)
