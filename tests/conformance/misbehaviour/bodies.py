"""Lengths and codings of bodies that are wrong, contradict each other, or end nowhere (RFC 9112, sections 6 and 7)."""

from asking import ADMIN, DOCUMENT, EVENT, WEBHOOK, chunks
from case import (
    BAD_HEAD, CLOSED, CONTINUE, GOOD, HEAD_TOO_LARGE, INCOMPLETE, KEPT, NO_LENGTH, NOT_FOUND, TOO_LARGE, UNPARSED,
    UNSIGNED, Answer, Case,
)
from setting import DOCUMENT_BYTES, EVENT_BODY_BYTES
from wire import HALF_CLOSE, Answered

LENGTH, EXPECT = (b"content-length",), b"expect: 100-continue"
NO_JSON, OTHER_DIGEST = Answer(400, "not_json"), Answer(422, "digest_differs")
FORBIDDEN_TYPE = Answer(415, "unsupported_media_type")
# Hyper's own bounds for all extensions of a body's chunks, and for its trailers.
EXTENSIONS_BYTES, TRAILERS_BYTES = 16 * 1024, 16 * 1024
CHUNKED = b"transfer-encoding: chunked"


def lengths(*values):
    return lambda request: request.length_is(*(value(request) if callable(value) else value for value in values))


def right(request):
    return b"%d" % len(request.body)


def coding(*lines):
    """A body in chunks below another coding."""
    return lambda request: request.coded(*lines, body=chunks(request.body))


def first_size(size):
    """A chunk whose size is not what follows."""
    return lambda request: request.chunked(size=size)


def body(make):
    """In chunks that are not quite."""
    return lambda request: request.chunked(body=make(request.body))


def with_trailers(trailers):
    return lambda request: request.chunked(trailers=trailers)


def one_by_one(octets):
    return b"".join(b"1\r\n%c\r\n" % octet for octet in octets) + b"0\r\n\r\n"


def half_of_it(request):
    return [request.whole()[:-10], HALF_CLOSE]


def expecting(request):
    return [request.head(EXPECT), Answered(1), request.body]


def bodiless(*lines):
    """What an operator does without a body is about everything."""
    def spoil(request):
        request.about = ("account", None)
        return request.head(*lines, without=LENGTH)
    return spoil


CASES = (
    # Content-Length.
    Case("a length with a plus", lengths(b"+5"), (UNPARSED,), CLOSED),
    Case("a length with a minus", lengths(b"-5"), (UNPARSED,), CLOSED),
    Case("a length in hexadecimal digits", lengths(b"0x5"), (UNPARSED,), CLOSED),
    Case("a length with a letter", lengths(b"5a"), (UNPARSED,), CLOSED),
    Case("a length with a point", lengths(b"5.0"), (UNPARSED,), CLOSED),
    Case("a length with a blank", lengths(b"1 5"), (UNPARSED,), CLOSED),
    Case("a length of other digits", lengths("\u0665".encode()), (UNPARSED,), CLOSED),
    Case("an empty length", lengths(b""), (UNPARSED,), CLOSED),
    Case(
        "a length with a comma", lengths(lambda request: right(request) + b", " + right(request)), (UNPARSED,), CLOSED
    ),
    Case("a length beyond 64 bits", lengths(b"18446744073709551621"), (UNPARSED,), CLOSED),
    Case("the longest of 64 bits", lengths(b"18446744073709551615"), (HEAD_TOO_LARGE,), CLOSED),
    Case("a length of 63 bits", lengths(b"9223372036854775807"), (TOO_LARGE,), CLOSED),
    Case("a length of a thousand digits", lengths(b"9" * 1000), (UNPARSED,), CLOSED),
    Case("a length after a thousand zeros", lengths(lambda request: b"0" * 1000 + right(request)), (GOOD,), KEPT),
    Case("a length with blanks around it", lengths(lambda request: b"  \t" + right(request) + b" \t "), (GOOD,), KEPT),
    Case("two lengths", lengths(right, b"5"), (UNPARSED,), CLOSED),
    Case("two lengths, the right one last", lengths(b"5", right), (UNPARSED,), CLOSED),
    Case("the same length twice", lengths(right, right), (GOOD,), KEPT),
    Case(
        "one byte too much is announced for an event",
        lengths(b"%d" % (EVENT_BODY_BYTES + 1)), (TOO_LARGE,), CLOSED, (EVENT,)
    ),
    Case(
        "one byte too much is announced for a document",
        lengths(b"%d" % (DOCUMENT_BYTES + 1)), (TOO_LARGE,), CLOSED, (DOCUMENT,)
    ),
    Case("one byte too much is announced for an operation", lengths(b"65537"), (TOO_LARGE,), CLOSED, ADMIN),
    Case("no length", lambda request: request.head(without=LENGTH), (NO_LENGTH,), KEPT, WEBHOOK),
    Case("no length, and so no body", bodiless(), (GOOD,), KEPT, ADMIN),
    # What was not announced begins the next request.
    Case(
        "no length, and a body",
        lambda request: request.whole(without=LENGTH) + b"\r\n\r\n", (NO_LENGTH, UNPARSED), CLOSED, WEBHOOK
    ),
    Case(
        "an event longer than announced",
        lambda request: lengths(b"5")(request) + b"\r\n\r\n", (UNSIGNED, UNPARSED), CLOSED, (EVENT,)
    ),
    Case(
        "a document longer than announced",
        lambda request: lengths(b"5")(request) + b"\r\n\r\n", (OTHER_DIGEST, UNPARSED), CLOSED, (DOCUMENT,)
    ),
    Case(
        "an operation longer than announced",
        lambda request: lengths(b"5")(request) + b"\r\n\r\n", (NO_JSON, UNPARSED), CLOSED, ADMIN
    ),
    Case("a body that ends early", half_of_it, (INCOMPLETE,), CLOSED),

    # Transfer-Encoding.
    Case("in chunks", lambda request: request.chunked(), (GOOD,), KEPT),
    Case("in chunks of one byte", body(one_by_one), (GOOD,), KEPT),
    Case("chunked in capitals", coding(b"Transfer-Encoding: CHUNKED"), (GOOD,), KEPT),
    Case("blanks around chunked", coding(b"transfer-encoding: \t chunked \t"), (GOOD,), KEPT),
    Case("gzip, chunked", coding(b"transfer-encoding: gzip, chunked"), (BAD_HEAD,), CLOSED),
    Case("chunked, gzip", coding(b"transfer-encoding: chunked, gzip"), (UNPARSED,), CLOSED),
    Case("chunked, chunked", coding(b"transfer-encoding: chunked, chunked"), (BAD_HEAD,), CLOSED),
    Case("chunked on two lines", coding(CHUNKED, CHUNKED), (BAD_HEAD,), CLOSED),
    Case("gzip and chunked on two lines", coding(b"transfer-encoding: gzip", CHUNKED), (BAD_HEAD,), CLOSED),
    Case("chunked and gzip on two lines", coding(CHUNKED, b"transfer-encoding: gzip"), (UNPARSED,), CLOSED),
    Case("identity", coding(b"transfer-encoding: identity"), (UNPARSED,), CLOSED),
    Case("identity, chunked", coding(b"transfer-encoding: identity, chunked"), (BAD_HEAD,), CLOSED),
    Case("an empty coding", coding(b"transfer-encoding:"), (UNPARSED,), CLOSED),
    Case("a comma before chunked", coding(b"transfer-encoding: , chunked"), (BAD_HEAD,), CLOSED),
    Case("a comma after chunked", coding(b"transfer-encoding: chunked,"), (UNPARSED,), CLOSED),
    Case("chunked with a parameter", coding(b"transfer-encoding: chunked;q=1"), (UNPARSED,), CLOSED),
    Case("xchunked", coding(b"transfer-encoding: xchunked"), (UNPARSED,), CLOSED),
    Case("chunked in quotes", coding(b'transfer-encoding: "chunked"'), (UNPARSED,), CLOSED),
    Case("a vertical tab before chunked", coding(b"transfer-encoding: \x0bchunked"), (UNPARSED,), CLOSED),
    Case("chunked on a folded line", coding(b"transfer-encoding:\r\n chunked"), (UNPARSED,), CLOSED),
    Case("a blank before the colon", coding(b"transfer-encoding : chunked"), (UNPARSED,), CLOSED),
    Case(
        "chunked in HTTP/1.0",
        lambda request: request.chunked().replace(b"HTTP/1.1", b"HTTP/1.0", 1), (UNPARSED,), CLOSED
    ),
    Case(
        "another name with an underscore",
        lambda request: coding(b"transfer_encoding: chunked")(request) + b"\r\n\r\n",
        (NO_LENGTH, UNPARSED), CLOSED, WEBHOOK
    ),

    # Chunks.
    Case("a size beyond 64 bits", first_size(b"1" + b"0" * 16), (INCOMPLETE,), CLOSED),
    Case("a size with a minus", first_size(b"-5"), (INCOMPLETE,), CLOSED),
    Case("a size with a plus", first_size(b"+5"), (INCOMPLETE,), CLOSED),
    Case("a size with 0x", first_size(b"0x5"), (INCOMPLETE,), CLOSED),
    Case("a size after a blank", first_size(b" 5"), (INCOMPLETE,), CLOSED),
    Case("no size", first_size(b""), (INCOMPLETE,), CLOSED),
    Case("a size in letters", first_size(b"five"), (INCOMPLETE,), CLOSED),
    Case("a size that is too small", first_size(b"5"), (INCOMPLETE,), CLOSED),
    Case(
        "a size after 20,000 zeros",
        body(lambda octets: chunks(octets, b"0" * 20_000 + b"%x" % len(octets))), (GOOD,), KEPT
    ),
    Case("a blank after the size", body(lambda octets: chunks(octets, extension=b" \t ")), (GOOD,), KEPT),
    Case("a size and LF alone", body(lambda octets: chunks(octets).replace(b"\r\n", b"\n", 1)), (INCOMPLETE,), CLOSED),
    Case(
        "a chunk and LF alone",
        body(lambda octets: chunks(octets).replace(octets + b"\r", octets)), (INCOMPLETE,), CLOSED
    ),
    Case(
        "more than is allowed, in chunks of an event",
        body(lambda _: chunks(b" " * (EVENT_BODY_BYTES + 1))), (TOO_LARGE,), CLOSED, (EVENT,)
    ),
    Case(
        "more than is allowed, in chunks of an operation",
        body(lambda _: chunks(b" " * 65537)), (TOO_LARGE,), CLOSED, ADMIN
    ),
    Case("no last chunk", lambda request: [request.chunked()[:-5], HALF_CLOSE], (INCOMPLETE,), CLOSED),

    # Extensions and trailers: nobody here knows any, and nobody reads on after trailers.
    Case("an extension", body(lambda octets: chunks(octets, extension=b";name=value")), (GOOD,), KEPT),
    Case("an extension in quotes", body(lambda octets: chunks(octets, extension=b';name="a;b"')), (GOOD,), KEPT),
    Case(
        "an extension with LF alone",
        body(lambda octets: chunks(octets, extension=b";name=\n")), (INCOMPLETE,), CLOSED
    ),
    Case(
        "an extension that is too long",
        body(lambda octets: chunks(octets, extension=b";" + b"a" * EXTENSIONS_BYTES)), (INCOMPLETE,), CLOSED
    ),
    Case(
        "an extension of 1 MiB",
        body(lambda octets: chunks(octets, extension=b";" + b"a" * 1024 * 1024)), (INCOMPLETE,), CLOSED
    ),
    Case("trailers", with_trailers(b"x-note: a\r\nx-other: b\r\n"), (GOOD,), CLOSED),
    Case(
        "trailers that look like a header",
        with_trailers(b"content-length: 5\r\nhost: other.example\r\nconnection: close\r\n"), (GOOD,), CLOSED
    ),
    Case(
        "trailers that are too long",
        with_trailers(b"x-note: " + b"a" * TRAILERS_BYTES + b"\r\n"), (INCOMPLETE,), CLOSED
    ),
    Case("trailers of 1 MiB", with_trailers(b"x-note: a\r\n" * 100_000), (INCOMPLETE,), CLOSED),
    Case("trailers with a NUL", with_trailers(b"x-note: a\0\r\n"), (INCOMPLETE,), CLOSED),
    Case("trailers without a colon", with_trailers(b"x-note\r\n"), (INCOMPLETE,), CLOSED),

    # Content-Encoding.
    Case("gzip as what the body is", lambda request: request.whole(b"content-encoding: gzip"), (FORBIDDEN_TYPE,), KEPT),

    # Expect (RFC 9110, section 10.1.1).
    Case("100-continue", expecting, (CONTINUE, GOOD), KEPT),
    Case("100-continue, and not waited for", lambda request: request.whole(EXPECT), (CONTINUE, GOOD), KEPT),
    Case(
        "100-continue in HTTP/1.0",
        lambda request: request.whole(EXPECT).replace(b"HTTP/1.1", b"HTTP/1.0", 1), (GOOD,), CLOSED
    ),
    Case(
        "100-continue without a body",
        bodiless(EXPECT, b"content-length: 0"), (GOOD,), KEPT, ADMIN
    ),
    Case(
        "100-continue, and the signature is wrong",
        lambda request: request.head(EXPECT).replace(b"v1,", b"v1,AAAA"), (UNSIGNED,), CLOSED, (DOCUMENT,)
    ),
    Case(
        "100-continue, and the length is too large",
        lambda request: request.head(EXPECT, b"content-length: 99999999", without=LENGTH), (TOO_LARGE,), CLOSED
    ),
    Case(
        "100-continue, and there is no such resource",
        lambda request: request.head(EXPECT, line=b"POST /v1/nothing HTTP/1.1"), (NOT_FOUND,), CLOSED
    ),
    Case("something else is expected", lambda request: request.whole(b"expect: the unexpected"), (GOOD,), KEPT),
)
