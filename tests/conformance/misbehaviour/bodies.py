"""Lengths and codings of bodies that are wrong, contradict each other, or end nowhere (RFC 9112, sections 6 and 7);
requests that hide in others, where a proxy before us may have seen one or two."""

from asking import ADMIN, ALL, DOCUMENT, EVENT, WEBHOOK, chunks
from case import (
    BAD_HEAD, CLOSED, CONTINUE, GOOD, HEAD_TOO_LARGE, INCOMPLETE, KEPT, NO_LENGTH, NO_METHOD, NOT_FOUND, TOO_LARGE,
    UNPARSED, UNSIGNED, Answer, cases, hidden,
)
from setting import DOCUMENT_BYTES, EVENT_BODY_BYTES
from wire import answered, half_close

LENGTH, EXPECT = (b"content-length",), b"expect: 100-continue"
NO_JSON, OTHER_DIGEST = Answer(400, "not_json"), Answer(422, "digest_differs")
FORBIDDEN_TYPE = Answer(415, "unsupported_media_type")
# Hyper's own bounds for all extensions of a body's chunks, and for its trailers.
EXTENSIONS_BYTES, TRAILERS_BYTES = 16 * 1024, 16 * 1024
MEGABYTE = 1024 * 1024
CHUNKED = b"transfer-encoding: chunked"
# An empty request, which the bytes that were not announced are taken for.
EMPTY = b"\r\n\r\n"


def lengths(*values):
    return lambda request: request.length_is(*(value(request) if callable(value) else value for value in values))


def lengths_of(*values):
    return {f"a length of {value[:30]}": lengths(value) for value in values}


def right(request):
    return b"%d" % len(request.body)


def coding(*lines, body=chunks):
    """A body in chunks below another coding, or one that is not quite."""
    return lambda request: request.coded(*lines, body=body(request.body))


def codings(*values):
    """Of transfer-encoding."""
    return {f"coding{value}": coding(b"transfer-encoding" + value) for value in values}


def body(make):
    return coding(CHUNKED, body=make)


def sizes(*values):
    """A chunk whose size is not what follows."""
    return {f"a size of {value}": body(lambda octets, value=value: chunks(octets, value)) for value in values}


def extension(octets):
    return body(lambda content: chunks(content, extension=octets))


def trailers(octets):
    return body(lambda content: chunks(content, trailers=octets))


def one_by_one(octets):
    return b"".join(b"1\r\n%c\r\n" % octet for octet in octets) + b"0\r\n\r\n"


def in_version_1_0(spoil):
    return lambda request: spoil(request).replace(b"HTTP/1.1", b"HTTP/1.0", 1)


def bodiless(*lines):
    """What an operator does without a body is about everything."""
    def spoil(request):
        request.about = ("account", None)
        return request.head(*lines, without=LENGTH)
    return spoil


def unsigned(octets):
    return octets.replace(b"v1,", b"v1,AAAA")


def length_of_all(request):
    """As long as all that comes, for those who go by it."""
    return b"content-length: %d" % (len(chunks(request.body)) + len(hidden(request)))


def inside_a_chunk(request):
    """For those who go by the length, it ends directly before the hidden one."""
    inside = hidden(request)
    size = b"%x\r\n" % len(inside)
    return request.coded(CHUNKED, b"content-length: %d" % len(size), body=size + inside + b"\r\n0\r\n\r\n")


def as_body(line):
    """As the body of what is never answered with success."""
    def spoil(request):
        inside = hidden(request)
        return request.head(b"content-length: %d" % len(inside), line=line, without=LENGTH) + inside
    return spoil


def as_body_after_refusal(request):
    """The answer was there before it was sent."""
    inside = hidden(request)
    lines = EXPECT, b"content-length: %d" % len(inside)
    return [request.head(*lines, line=b"PUT /v1/nothing HTTP/1.1", without=LENGTH), answered(1), inside]


# Behind each whose connection ends comes a request that must not be taken.
CASES = (
    # Content-Length.
    *cases((UNPARSED,), CLOSED, {
        **lengths_of(
            b"+5", b"+0", b"-5", b"-1", b"0x5", b"5a", b"5.0", b"1 5", "\u0665".encode(), b"", b"0, 5",
            b"18446744073709551621", b"18446744073709551616", b"9" * 1000, b"\r\n 5",
        ),
        "the right length, listed twice": lengths(lambda request: right(request) + b", " + right(request)),
        "two lengths": lengths(right, b"5"), "two lengths, the right one last": lengths(b"5", right),
        "two lengths, none of them right": lengths(b"0", b"5"),
    }),
    *cases((HEAD_TOO_LARGE,), CLOSED, lengths_of(b"18446744073709551615")),
    *cases((TOO_LARGE,), CLOSED, lengths_of(b"9223372036854775807")),
    *cases((GOOD,), KEPT, {
        "a length after a thousand zeros": lengths(lambda request: b"0" * 1000 + right(request)),
        "a length with blanks around it": lengths(lambda request: b"  \t" + right(request) + b" \t "),
        "the same length twice": lengths(right, right),
    }),
    *cases((TOO_LARGE,), CLOSED, lengths_of(b"%d" % (EVENT_BODY_BYTES + 1)), (EVENT,)),
    *cases((TOO_LARGE,), CLOSED, lengths_of(b"%d" % (DOCUMENT_BYTES + 1)), (DOCUMENT,)),
    *cases((TOO_LARGE,), CLOSED, lengths_of(b"65537"), ADMIN),
    *cases((NO_LENGTH,), KEPT, {"no length": lambda request: request.head(without=LENGTH)}, WEBHOOK),
    *cases((GOOD,), KEPT, {"no length, and so no body": bodiless()}, ADMIN),
    # What was not announced begins the next request.
    *cases((NO_LENGTH, UNPARSED), CLOSED, {
        "no length, and a body": lambda request: request.whole(without=LENGTH) + EMPTY,
        "another name with an underscore": lambda request: coding(b"transfer_encoding: chunked")(request) + EMPTY,
    }, WEBHOOK),
    *(
        one for kinds, refused in (((EVENT,), UNSIGNED), ((DOCUMENT,), OTHER_DIGEST), (ADMIN, NO_JSON)) for one in
        cases((refused, UNPARSED), CLOSED, {"longer than announced": lambda request: lengths(b"5")(request) + EMPTY}, kinds)
    ),
    *cases((INCOMPLETE,), CLOSED, {
        "a body that ends early": lambda request: [request.whole()[:-10], half_close],
        "no last chunk": lambda request: [request.chunked()[:-5], half_close],
    }),

    # Transfer-Encoding.
    *cases((GOOD,), KEPT, {
        "in chunks of one byte": body(one_by_one), "in capitals": coding(b"Transfer-Encoding: CHUNKED"),
        **codings(b": chunked", b": \t chunked \t"),
    }),
    *cases((BAD_HEAD,), CLOSED, {
        **codings(b": gzip, chunked", b": chunked, chunked", b": identity, chunked", b": , chunked"),
        "chunked on two lines": coding(CHUNKED, CHUNKED),
        "gzip and chunked on two lines": coding(b"transfer-encoding: gzip", CHUNKED),
    }),
    *cases((UNPARSED,), CLOSED, {
        **codings(
            b": chunked, gzip", b": identity", b":", b": chunked,", b": chunked;q=1", b": xchunked", b': "chunked"',
            b": \x0bchunked", b":\r\n chunked", b" : chunked",
        ),
        "chunked and gzip on two lines": coding(CHUNKED, b"transfer-encoding: gzip"),
        "chunked and identity on two lines": coding(CHUNKED, b"transfer-encoding: identity"),
        "chunked in HTTP/1.0": in_version_1_0(coding(CHUNKED)),
    }),

    # A length and chunks: the chunks count, and nothing behind them. What only one of two takes for chunks is refused.
    *cases((GOOD,), CLOSED, {
        "a length, then chunks": lambda request: coding(length_of_all(request), CHUNKED)(request),
        "chunks, then a length": lambda request: coding(CHUNKED, length_of_all(request))(request),
        "a length of 0, then chunks": coding(b"content-length: 0", CHUNKED),
        "chunks, then a length of 0": coding(CHUNKED, b"content-length: 0"),
    }),
    *cases((UNPARSED,), CLOSED, {
        "a length that is none, then chunks": coding(b"content-length: five", CHUNKED),
        **{
            f"{line}, and a length": coding(line, b"content-length: 5") for line in
            (b"transfer-encoding: xchunked", b"transfer-encoding : chunked", b"transfer-encoding: \x0bchunked",
             b"x-note: a\rtransfer-encoding: chunked")
        },
    }),
    *cases((GOOD,), CLOSED, {"lengths around chunks": coding(b"content-length: 5", CHUNKED, b"content-length: 6")}),
    *cases((UNSIGNED,), CLOSED, {"hidden in a chunk of an event": inside_a_chunk}, (EVENT,)),
    *cases((OTHER_DIGEST,), CLOSED, {"hidden in a chunk of a document": inside_a_chunk}, (DOCUMENT,)),
    *cases((NO_JSON,), CLOSED, {"hidden in a chunk of an operation": inside_a_chunk}, ADMIN),

    # A body that is not wanted is no request.
    *cases((NOT_FOUND,), KEPT, {
        "hidden in the body of a GET": as_body(b"GET /v1/nothing HTTP/1.1"),
        "hidden in the body of a TRACE": as_body(b"TRACE /v1/nothing HTTP/1.1"),
    }),
    *cases((NO_METHOD,), KEPT, {"hidden in the body of a DELETE": as_body(b"DELETE /v1/events HTTP/1.1")}, WEBHOOK),
    *cases((NOT_FOUND,), CLOSED, {"hidden in a body that was not waited for": as_body_after_refusal}),

    # Chunks.
    *cases((INCOMPLETE,), CLOSED, {
        **sizes(b"1" + b"0" * 16, b"-5", b"+5", b"0x5", b" 5", b"", b"five", b"5"),
        "a size and LF alone": body(lambda octets: chunks(octets).replace(b"\r\n", b"\n", 1)),
        "a chunk and LF alone": body(lambda octets: chunks(octets).replace(octets + b"\r", octets)),
        "a last chunk without its end": body(lambda octets: chunks(octets)[:-2]),
        "a last chunk of letters": body(lambda _: b"0x0\r\n\r\n"),
        "a size that overflows to 0": body(lambda _: b"1" + b"0" * 16 + b"\r\n\r\n"),
        "a size with LF in its extension": body(lambda _: b"2;\nxx\r\n0\r\n\r\n"),
    }),
    *cases((GOOD,), CLOSED, {"a last chunk that ends in LF": body(lambda octets: chunks(octets)[:-2] + b"\n")}),
    *cases((GOOD,), KEPT, {
        "a size after 20,000 zeros": body(lambda octets: chunks(octets, b"0" * 20_000 + b"%x" % len(octets))),
        "a blank after the size": extension(b" \t "),
    }),
    *cases((TOO_LARGE,), CLOSED, {"too much, in chunks": body(lambda _: chunks(b" " * (EVENT_BODY_BYTES + 1)))}, (EVENT,)),
    *cases((TOO_LARGE,), CLOSED, {"too much, in chunks": body(lambda _: chunks(b" " * 65537))}, ADMIN),

    # Extensions and trailers: none is known here, and nothing is read after trailers.
    *cases((GOOD,), KEPT, {
        "an extension": extension(b";name=value"), "an extension in quotes": extension(b';name="a;b"'),
    }),
    *cases((INCOMPLETE,), CLOSED, {
        "an extension with LF alone": extension(b";name=\n"),
        "an extension that is too long": extension(b";" + b"a" * EXTENSIONS_BYTES),
        "an extension of 1 MiB": extension(b";" + b"a" * MEGABYTE),
        "trailers that are too long": trailers(b"x-note: " + b"a" * TRAILERS_BYTES + b"\r\n"),
        "trailers of 1 MiB": trailers(b"x-note: a\r\n" * 100_000),
        "trailers with a NUL": trailers(b"x-note: a\0\r\n"),
        "trailers without a colon": trailers(b"x-note\r\n"),
    }),
    *cases((GOOD,), CLOSED, {
        "trailers": trailers(b"x-note: a\r\nx-other: b\r\n"),
        "trailers like a header": trailers(b"content-length: 5\r\nhost: other.example\r\nconnection: close\r\n"),
    }),

    # Content-Encoding and Expect (RFC 9110, section 10.1.1).
    *cases((FORBIDDEN_TYPE,), KEPT, {"in gzip": lambda request: request.whole(b"content-encoding: gzip")}),
    *cases((CONTINUE, GOOD), KEPT, {
        "100-continue": lambda request: [request.head(EXPECT), answered(1), request.body],
        "100-continue, and not waited for": lambda request: request.whole(EXPECT),
    }),
    *cases((GOOD,), CLOSED, {"100-continue in HTTP/1.0": in_version_1_0(lambda request: request.whole(EXPECT))}),
    *cases((GOOD,), KEPT, {"100-continue without a body": bodiless(EXPECT, b"content-length: 0")}, ADMIN),
    *cases((UNSIGNED,), CLOSED, {"100-continue, unsigned": lambda request: unsigned(request.head(EXPECT))}, (DOCUMENT,)),
    *cases((TOO_LARGE,), CLOSED, {
        "100-continue, too large": lambda request: request.head(EXPECT, b"content-length: 99999999", without=LENGTH),
    }),
    *cases((NOT_FOUND,), CLOSED, {
        "100-continue, of nothing": lambda request: [request.head(EXPECT, line=b"POST /v1/nothing HTTP/1.1")],
    }),
    *cases((GOOD,), KEPT, {"something else is expected": lambda request: request.whole(b"expect: the unexpected")}, ALL),
)
