"""Request lines and headers that break the grammar or its limits (RFC 9112, sections 2 to 5)."""

from case import (
    BAD_HEAD, CLOSED, GOOD, HEAD_TOO_LARGE, KEPT, NO_METHOD, NOT_FOUND, UNPARSED, Answer, Case,
)
from setting import HEADER_BYTES

MEGABYTE = 1024 * 1024
WITHOUT_BODY = (b"content-length", b"content-type")


def line(method=None, target=None, version=None):
    """With another word in the request line."""
    def spoil(request):
        old = request.line.split(b" ")
        new = (method or old[0], target(old[1]) if target else old[1], version or old[2])
        return request.whole(line=b" ".join(new))
    return spoil


def field(octets):
    return lambda request: request.whole(octets)


def bare(request_line, *fields):
    """Without a body."""
    return lambda request: request.head(*fields, line=request_line, without=WITHOUT_BODY)


def hosts(*values):
    fields = [b"host: " + value for value in values]
    return lambda request: request.whole(*fields, without=(b"host",))


CASES = (
    # What a line may be made of.
    Case("a NUL in a value", field(b"x-note: a\0b"), (UNPARSED,), CLOSED),
    Case("a NUL in a name", field(b"x-no\0te: a"), (UNPARSED,), CLOSED),
    Case("a control byte in a value", field(b"x-note: a\x01b"), (UNPARSED,), CLOSED),
    Case("DEL in a value", field(b"x-note: a\x7fb"), (UNPARSED,), CLOSED),
    Case("a CR in a value", field(b"x-note: a\rb"), (UNPARSED,), CLOSED),
    Case("bytes beyond ASCII in a value", field(b"x-note: M\xfcller \xc3\xa4"), (GOOD,), KEPT),
    Case("bytes beyond ASCII in a name", field("x-nöte: a".encode()), (UNPARSED,), CLOSED),
    Case("a folded line", field(b"x-note: a\r\n b"), (UNPARSED,), CLOSED),
    Case(
        "a first line that is folded",
        lambda request: request.line + b"\r\n x: y\r\n" + request.whole(), (UNPARSED,), CLOSED
    ),
    Case("a space before the colon", field(b"x-note : a"), (UNPARSED,), CLOSED),
    Case("a tab before the colon", field(b"x-note\t: a"), (UNPARSED,), CLOSED),
    Case("no name", field(b": a"), (UNPARSED,), CLOSED),
    Case("no colon", field(b"x-note"), (UNPARSED,), CLOSED),
    Case("lines that end in LF alone", lambda request: request.whole(end=b"\n"), (GOOD,), KEPT),
    Case("lines that end in CR alone", lambda request: request.whole(end=b"\r") + b"\n\n", (UNPARSED,), CLOSED),
    Case("empty lines before the request", lambda request: b"\r\n" * 3 + request.whole(), (GOOD,), KEPT),

    # Limits.
    Case("a header of 1 MiB in one field", field(b"x-note: " + b"a" * MEGABYTE), (HEAD_TOO_LARGE,), CLOSED),
    Case(
        "a header of 1 MiB in many fields",
        field(b"\r\n".join([b"x-note: " + b"a" * 1000] * 1040)), (HEAD_TOO_LARGE,), CLOSED
    ),
    Case("a name of 64 KiB", field(b"a" * 65536 + b": b"), (HEAD_TOO_LARGE,), CLOSED),
    Case("a request line of 64 KiB", bare(b"GET /" + b"a" * 65536 + b" HTTP/1.1"), (HEAD_TOO_LARGE,), CLOSED),
    Case("a method of 64 KiB", bare(b"A" * 65536 + b" / HTTP/1.1"), (HEAD_TOO_LARGE,), CLOSED),
    Case("empty lines for ever", lambda _: b"\r\n" * MEGABYTE, (HEAD_TOO_LARGE,), CLOSED),
    Case("a target of 5,000 bytes", bare(b"GET /" + b"a" * 5000 + b" HTTP/1.1"), (Answer(414, "uri_too_long"),), KEPT),
    Case("a header as long as it may be", lambda request: request.whole(padding(request)), (GOOD,), KEPT),
    Case("101 fields", field(b"\r\n".join([b"x-note: a"] * 101)), (HEAD_TOO_LARGE,), CLOSED),
    Case("80 more fields", field(b"\r\n".join([b"x-note: a"] * 80)), (GOOD,), KEPT),

    # Versions.
    Case("HTTP/0.9", lambda _: b"GET /v1/events\r\n\r\n", (UNPARSED,), CLOSED),
    Case("no version", bare(b"GET /v1/events"), (UNPARSED,), CLOSED),
    Case("HTTP/1.2", line(version=b"HTTP/1.2"), (UNPARSED,), CLOSED),
    Case("HTTP/2.0", line(version=b"HTTP/2.0"), (UNPARSED,), CLOSED),
    Case("http/1.1", line(version=b"http/1.1"), (UNPARSED,), CLOSED),
    Case("HTTP/1.1 and a blank", line(version=b"HTTP/1.1 "), (UNPARSED,), CLOSED),
    Case("HTTP/1.0", line(version=b"HTTP/1.0"), (GOOD,), CLOSED),
    Case(
        "HTTP/1.0, keep-alive",
        lambda request: request.whole(b"connection: keep-alive", line=old(request)), (GOOD,), KEPT
    ),
    Case(
        "HTTP/1.0 without a host",
        lambda request: request.whole(line=old(request), without=(b"host",)), (GOOD,), CLOSED
    ),

    # Hosts.
    Case("no host", hosts(), (BAD_HEAD,), CLOSED),
    Case("two hosts", hosts(b"router.example", b"other.example"), (BAD_HEAD,), CLOSED),
    Case("the same host twice", hosts(b"router.example", b"router.example"), (BAD_HEAD,), CLOSED),
    Case("a host with a blank", hosts(b"router.example other.example"), (BAD_HEAD,), CLOSED),
    Case("a host with a path", hosts(b"router.example/v1"), (BAD_HEAD,), CLOSED),
    Case("a host with a user", hosts(b"portal@router.example"), (BAD_HEAD,), CLOSED),
    Case("a host with a port that is none", hosts(b"router.example:https"), (BAD_HEAD,), CLOSED),
    Case("an empty host", hosts(b""), (GOOD,), KEPT),

    # Targets and methods.
    Case("an absolute target", line(target=lambda path: b"http://router.example" + path), (GOOD,), KEPT),
    Case("an absolute target elsewhere", line(target=lambda path: b"http://other.example" + path), (GOOD,), KEPT),
    Case("a target without a slash", line(target=lambda path: path[1:]), (UNPARSED,), CLOSED),
    Case("a target with a blank", line(target=lambda path: path + b" x"), (UNPARSED,), CLOSED),
    Case("a target with a NUL", line(target=lambda path: path + b"\0"), (UNPARSED,), CLOSED),
    Case("two slashes", line(target=lambda path: b"/" + path), (NOT_FOUND,), KEPT),
    Case("a path up and down again", line(target=lambda path: b"/v1/.." + path), (NOT_FOUND,), KEPT),
    Case(
        "a lower-case method",
        lambda request: line(method=request.line.split(b" ")[0].lower())(request), (NO_METHOD,), KEPT
    ),
    Case("a method of signs", line(method=b"!#$%&'*+-.^_`|~"), (NO_METHOD,), KEPT),
    Case("a method with a colon", line(method=b"PO:ST"), (UNPARSED,), CLOSED),
    Case("TRACE", line(method=b"TRACE"), (NO_METHOD,), KEPT),
    Case("OPTIONS of the resource", line(method=b"OPTIONS"), (NO_METHOD,), KEPT),
    Case("OPTIONS *", bare(b"OPTIONS * HTTP/1.1"), (NOT_FOUND,), KEPT),
    Case("GET *", bare(b"GET * HTTP/1.1"), (NOT_FOUND,), KEPT),
    Case("CONNECT", bare(b"CONNECT other.example:443 HTTP/1.1"), (NOT_FOUND,), KEPT),
    Case("CONNECT to the resource", line(method=b"CONNECT"), (NO_METHOD,), KEPT),

    # Upgrades that are not taken up (RFC 9110, section 7.8).
    Case(
        "Upgrade: h2c",
        field(b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk"), (GOOD,), KEPT
    ),
    Case(
        "Upgrade: websocket",
        field(b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13"), (GOOD,), KEPT
    ),

    # Another protocol.
    Case("the preface of HTTP/2", lambda _: PREFACE, (), CLOSED),
    Case(
        "the preface of HTTP/2 and its settings",
        lambda _: PREFACE + b"\0\0\0\4\0\0\0\0\0" + b"\0\0\x04\x08\0\0\0\0\0\0\1\0\0", (), CLOSED
    ),
    Case("TLS", lambda _: CLIENT_HELLO, (UNPARSED,), CLOSED),
    Case("SSL 2", lambda _: b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + b"\x07" * 37, (UNPARSED,), CLOSED),
    Case("SMTP", lambda _: b"EHLO portal.example\r\n\r\n", (UNPARSED,), CLOSED),
    Case("SSH", lambda _: b"SSH-2.0-portal\r\n\r\n", (UNPARSED,), CLOSED),
    Case(
        "a proxy's line before it",
        lambda request: b"PROXY TCP4 127.0.0.1 127.0.0.1 5 6\r\n" + request.whole(), (UNPARSED,), CLOSED
    ),
    Case(
        "a proxy's block before it",
        lambda request: b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + b"\x7f\0\0\1" * 3 + request.whole(), (UNPARSED,), CLOSED
    ),
    Case("zeros", lambda _: b"\0" * 100_000, (UNPARSED,), CLOSED),
)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# As OpenSSL begins TLS 1.3: a record of 512 bytes that holds a ClientHello.
CLIENT_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) + b"\0" * 250


def old(request):
    return request.line.replace(b"HTTP/1.1", b"HTTP/1.0")


def padding(request):
    """Fills the header up to what is allowed."""
    name = b"x-note: "
    return name + b"a" * (HEADER_BYTES - len(request.head()) - len(name) - len(b"\r\n"))
