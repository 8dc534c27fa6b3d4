"""Two requests where a proxy before us may have seen one. The hidden one, which is good, must never be taken.

What is behind the end of a body that everybody agrees on is no smuggling but the next request; such an end there
is in none of these.
"""

from asking import DOCUMENT, EVENT, WEBHOOK, ADMIN, chunks
from bodies import CHUNKED, EXPECT, NO_JSON, OTHER_DIGEST
from case import BAD_HEAD, CLOSED, GOOD, INCOMPLETE, KEPT, NO_METHOD, NOT_FOUND, UNPARSED, UNSIGNED, Case
from wire import Answered


def hidden(request):
    return request.kind.hidden().whole()


def behind(spoil):
    """The hidden one behind another."""
    return lambda request: spoil(request) + hidden(request)


def coded(*lines, body=lambda request: chunks(request.body)):
    """Behind a body in chunks below these lines."""
    return behind(lambda request: request.coded(*lines, body=body(request)))


def length_of_all(request):
    """As long as all that comes, for those who go by it."""
    return b"content-length: %d" % (len(chunks(request.body)) + len(hidden(request)))


def length_or_chunks(request):
    return request.coded(length_of_all(request), CHUNKED, body=chunks(request.body)) + hidden(request)


def chunks_or_length(request):
    return request.coded(CHUNKED, length_of_all(request), body=chunks(request.body)) + hidden(request)


def inside_a_chunk(request):
    """For those who go by the length, it ends directly before the hidden one."""
    inside = hidden(request)
    size = b"%x\r\n" % len(inside)
    return request.coded(CHUNKED, b"content-length: %d" % len(size), body=size + inside + b"\r\n0\r\n\r\n")


def as_body(line):
    """As the body of what nobody answers with success."""
    def spoil(request):
        inside = hidden(request)
        return request.head(b"content-length: %d" % len(inside), line=line, without=(b"content-length",)) + inside
    return spoil


def as_body_after_refusal(request):
    """The answer was there before it was sent."""
    inside = hidden(request)
    length = b"content-length: %d" % len(inside)
    head = request.head(EXPECT, length, line=b"PUT /v1/nothing HTTP/1.1", without=(b"content-length",))
    return [head, Answered(1), inside]


def with_field(line):
    return behind(lambda request: request.whole(line))


def lengths(*values):
    return behind(lambda request: request.length_is(*values))


CASES = (
    # A length and chunks: the chunks count, and nothing behind them.
    Case("a length, then chunks", length_or_chunks, (GOOD,), CLOSED),
    Case("chunks, then a length", chunks_or_length, (GOOD,), CLOSED),
    Case("a length of 0, then chunks", coded(b"content-length: 0", CHUNKED), (GOOD,), CLOSED),
    Case("chunks, then a length of 0", coded(CHUNKED, b"content-length: 0"), (GOOD,), CLOSED),
    Case("a length that is none, then chunks", coded(b"content-length: five", CHUNKED), (UNPARSED,), CLOSED),
    Case("lengths around chunks", coded(b"content-length: 5", CHUNKED, b"content-length: 6"), (GOOD,), CLOSED),
    Case("inside a chunk of an event", inside_a_chunk, (UNSIGNED,), CLOSED, (EVENT,)),
    Case("inside a chunk of a document", inside_a_chunk, (OTHER_DIGEST,), CLOSED, (DOCUMENT,)),
    Case("inside a chunk of an operation", inside_a_chunk, (NO_JSON,), CLOSED, ADMIN),

    # Codings that one takes for chunks and another does not.
    Case("behind gzip, chunked", coded(b"transfer-encoding: gzip, chunked"), (BAD_HEAD,), CLOSED),
    Case("behind chunked, identity", coded(CHUNKED, b"transfer-encoding: identity"), (UNPARSED,), CLOSED),
    Case("behind identity, chunked", coded(b"transfer-encoding: identity", CHUNKED), (BAD_HEAD,), CLOSED),
    Case(
        "behind xchunked and a length",
        coded(b"transfer-encoding: xchunked", b"content-length: 5"), (UNPARSED,), CLOSED
    ),
    Case(
        "behind a blank before the colon",
        coded(b"transfer-encoding : chunked", b"content-length: 5"), (UNPARSED,), CLOSED
    ),
    Case("behind a vertical tab", coded(b"transfer-encoding: \x0bchunked", b"content-length: 5"), (UNPARSED,), CLOSED),
    Case(
        "behind a coding after a CR",
        coded(b"x-note: a\rtransfer-encoding: chunked", b"content-length: 5"), (UNPARSED,), CLOSED
    ),
    Case(
        "behind chunks of HTTP/1.0",
        behind(lambda request: request.chunked().replace(b"HTTP/1.1", b"HTTP/1.0", 1)), (UNPARSED,), CLOSED
    ),

    # Lengths that one takes for another than the other.
    Case("behind two lengths", lengths(b"0", b"5"), (UNPARSED,), CLOSED),
    Case("behind a list of lengths", lengths(b"0, 5"), (UNPARSED,), CLOSED),
    Case("behind a plus", lengths(b"+0"), (UNPARSED,), CLOSED),
    Case("behind a minus", lengths(b"-1"), (UNPARSED,), CLOSED),
    Case("behind a length that overflows to 0", lengths(b"18446744073709551616"), (UNPARSED,), CLOSED),
    Case("behind a folded length", lengths(b"\r\n 5"), (UNPARSED,), CLOSED),

    # Chunks that end elsewhere for another.
    Case(
        "behind a size that overflows to 0",
        coded(CHUNKED, body=lambda _: b"1" + b"0" * 16 + b"\r\n\r\n"), (INCOMPLETE,), CLOSED
    ),
    Case("behind an extension with LF", coded(CHUNKED, body=lambda _: b"2;\nxx\r\n0\r\n\r\n"), (INCOMPLETE,), CLOSED),
    Case(
        "behind a last chunk without its end",
        coded(CHUNKED, body=lambda request: chunks(request.body)[:-2]), (INCOMPLETE,), CLOSED
    ),
    Case(
        "behind a last chunk that ends in LF",
        coded(CHUNKED, body=lambda request: chunks(request.body)[:-2] + b"\n"), (GOOD,), CLOSED
    ),
    Case("behind a size of letters", coded(CHUNKED, body=lambda _: b"0x0\r\n\r\n"), (INCOMPLETE,), CLOSED),

    # A body that nobody wants is no request.
    Case("as the body of a GET", as_body(b"GET /v1/nothing HTTP/1.1"), (NOT_FOUND,), KEPT),
    Case("as the body of a TRACE", as_body(b"TRACE /v1/nothing HTTP/1.1"), (NOT_FOUND,), KEPT),
    Case("as the body of what is not allowed", as_body(b"DELETE /v1/events HTTP/1.1"), (NO_METHOD,), KEPT, WEBHOOK),
    Case("as a body that was not waited for", as_body_after_refusal, (NOT_FOUND,), CLOSED),

    # After an end that was announced, or forced.
    Case("behind Connection: close", with_field(b"connection: close"), (GOOD,), CLOSED),
    Case(
        "behind HTTP/1.0",
        behind(lambda request: request.whole().replace(b"HTTP/1.1", b"HTTP/1.0", 1)), (GOOD,), CLOSED
    ),
    Case("behind two hosts", with_field(b"host: other.example"), (BAD_HEAD,), CLOSED),
    Case("behind a NUL", with_field(b"x-note: \0"), (UNPARSED,), CLOSED),
)
