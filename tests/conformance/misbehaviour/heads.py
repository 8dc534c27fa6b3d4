"""Request lines and headers that break the grammar or its limits (RFC 9112, sections 2 to 5)."""

from case import BAD_HEAD, CLOSED, GOOD, HEAD_TOO_LARGE, KEPT, NO_METHOD, NOT_FOUND, UNPARSED, Answer, cases
from setting import HEADER_BYTES

MEGABYTE = 1024 * 1024
WITHOUT_BODY = (b"content-length", b"content-type")
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# As OpenSSL begins TLS 1.3: a record of 512 bytes that holds a ClientHello.
CLIENT_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) + b"\0" * 250


def line(method=None, target=None, version=None):
    """With another word in the request line."""
    def spoil(request):
        old = request.line.split(b" ")
        new = (method or old[0], target(old[1]) if target else old[1], version or old[2])
        return request.whole(line=b" ".join(new))
    return spoil


def methods(*values):
    return {f"the method {value}": line(method=value) for value in values}


def versions(*values):
    return {f"the version {value}": line(version=value) for value in values}


def fields(*values):
    return {f"a field {value[:30]}": field(value) for value in values}


def field(octets):
    return lambda request: request.whole(octets)


def many(count, octets=b"x-note: a"):
    return field(b"\r\n".join([octets] * count))


def bare(request_line, *more):
    """Without a body."""
    return lambda request: request.head(*more, line=request_line, without=WITHOUT_BODY)


def bares(*values):
    return {str(value): bare(value) for value in values}


def hosts(*values):
    more = [b"host: " + value for value in values]
    return {f"the hosts {values}": lambda request: request.whole(*more, without=(b"host",))}


def before(octets):
    return lambda request: octets + request.whole()


def only(octets):
    return lambda _: octets


def old(request):
    return request.line.replace(b"HTTP/1.1", b"HTTP/1.0")


def padding(request):
    """Fills the header up to what is allowed."""
    name = b"x-note: "
    return name + b"a" * (HEADER_BYTES - len(request.head()) - len(name) - len(b"\r\n"))


CASES = (
    *cases((UNPARSED,), CLOSED, {
        # What a line may be made of.
        **fields(
            b"x-note: a\0b", b"x-no\0te: a", b"x-note: a\x01b", b"x-note: a\x7fb", b"x-note: a\rb", "x-nöte: a".encode(),
            b"x-note: a\r\n b", b"x-note : a", b"x-note\t: a", b": a", b"x-note",
        ),
        "a first line that is folded": lambda request: request.line + b"\r\n x: y\r\n" + request.whole(),
        "lines that end in CR alone": lambda request: request.whole(end=b"\r") + b"\n\n",
        # Versions, targets and methods.
        "HTTP/0.9": only(b"GET /v1/events\r\n\r\n"), "no version": bare(b"GET /v1/events"),
        **versions(b"HTTP/1.2", b"HTTP/2.0", b"http/1.1", b"HTTP/1.1 "),
        "a target without a slash": line(target=lambda path: path[1:]),
        "a target with a blank": line(target=lambda path: path + b" x"),
        "a target with a NUL": line(target=lambda path: path + b"\0"),
        **methods(b"PO:ST"),
        # Another protocol.
        "TLS": only(CLIENT_HELLO), "SSL 2": only(b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + b"\x07" * 37),
        "SMTP": only(b"EHLO portal.example\r\n\r\n"), "SSH": only(b"SSH-2.0-portal\r\n\r\n"),
        "a proxy's line before it": before(b"PROXY TCP4 127.0.0.1 127.0.0.1 5 6\r\n"),
        "a proxy's block before it": before(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + b"\x7f\0\0\1" * 3),
        "zeros": only(b"\0" * 100_000),
    }),
    *cases((), CLOSED, {
        "the preface of HTTP/2": only(PREFACE),
        "the preface of HTTP/2 and its settings": only(PREFACE + b"\0\0\0\4\0\0\0\0\0\0\0\x04\x08\0\0\0\0\0\0\1\0\0"),
    }),
    *cases((HEAD_TOO_LARGE,), CLOSED, {
        "a header of 1 MiB in one field": field(b"x-note: " + b"a" * MEGABYTE),
        "a header of 1 MiB in many fields": many(1040, b"x-note: " + b"a" * 1000),
        "a name of 64 KiB": field(b"a" * 65536 + b": b"),
        "a request line of 64 KiB": bare(b"GET /" + b"a" * 65536 + b" HTTP/1.1"),
        "a method of 64 KiB": bare(b"A" * 65536 + b" / HTTP/1.1"),
        "empty lines for ever": only(b"\r\n" * MEGABYTE),
        "101 fields": many(101),
    }),
    *cases((BAD_HEAD,), CLOSED, {
        **hosts(), **hosts(b"router.example", b"other.example"), **hosts(b"router.example", b"router.example"),
        **hosts(b"router.example other.example"), **hosts(b"router.example/v1"), **hosts(b"portal@router.example"),
        **hosts(b"router.example:https"),
    }),
    *cases((GOOD,), CLOSED, {
        **versions(b"HTTP/1.0"),
        "HTTP/1.0 without a host": lambda request: request.whole(line=old(request), without=(b"host",)),
    }),
    *cases((GOOD,), KEPT, {
        **fields(b"x-note: M\xfcller \xc3\xa4"), **hosts(b""),
        "lines that end in LF alone": lambda request: request.whole(end=b"\n"),
        "empty lines before the request": before(b"\r\n" * 3),
        "a header as long as it may be": lambda request: request.whole(padding(request)),
        "80 more fields": many(80),
        "HTTP/1.0, keep-alive": lambda request: request.whole(b"connection: keep-alive", line=old(request)),
        "an absolute target": line(target=lambda path: b"http://router.example" + path),
        "an absolute target elsewhere": line(target=lambda path: b"http://other.example" + path),
        # Upgrades that are not taken up (RFC 9110, section 7.8).
        **fields(
            b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk",
            b"upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13",
        ),
    }),
    *cases((Answer(414, "uri_too_long"),), KEPT, {"5,000 bytes of target": bare(b"GET /" + b"a" * 5000 + b" HTTP/1.1")}),
    *cases((NOT_FOUND,), KEPT, {
        "two slashes": line(target=lambda path: b"/" + path),
        "a path up and down again": line(target=lambda path: b"/v1/.." + path),
        **bares(b"OPTIONS * HTTP/1.1", b"GET * HTTP/1.1", b"CONNECT other.example:443 HTTP/1.1"),
    }),
    *cases((NO_METHOD,), KEPT, {
        "in lower case": lambda request: line(method=request.line.split(b" ")[0].lower())(request),
        **methods(b"!#$%&'*+-.^_`|~", b"TRACE", b"OPTIONS", b"CONNECT"),
    }),
)
