"""Requests of each kind, as a good client would send them; the cases spoil them.

Each event is about an account of its own and each document has content of its own, so that what was applied can
be told from what was not.
"""

import dataclasses
import itertools
import json

import events
import setting
from daemon import KEYS

COUNT = itertools.count(1)
# Those that are there before anything else happens: as many as the largest page holds, and what operations are about.
FIRST_ACCOUNTS = tuple(f"FIRST-{number}" for number in range(500))
# The largest page there is. The mistakes that are reported of an event, with the names of what is wrong, make as much.
PAGE = f"/v1/accounts?limit={len(FIRST_ACCOUNTS)}"
MISTAKES, NAME_CHARACTERS = 50, 4_000


@dataclasses.dataclass
class Request:
    """What is sent over the wire, piece by piece."""

    line: bytes
    # Names in lower case, in the order in which they are sent.
    fields: dict
    body: bytes
    # What a good answer is.
    good: int
    # The member of a good answer that says what it is about, and its value.
    about: tuple = ()
    kind: object = None
    # Those that were made of it, in their order.
    others: list = dataclasses.field(default_factory=list)

    def another(self):
        """One more of its kind."""
        self.others.append(self.kind.request())
        return self.others[-1]

    def head(self, *more, line=None, without=(), end=b"\r\n"):
        """With further lines of the header, or in place of some; `end` ends each line."""
        lines = [line or self.line]
        lines += [name + b": " + value for name, value in self.fields.items() if name not in without]
        return end.join([*lines, *more, b"", b""])

    def whole(self, *more, line=None, without=(), end=b"\r\n"):
        return self.head(*more, line=line, without=without, end=end) + self.body

    def length_is(self, *lengths):
        """With these values of Content-Length in place of the right one."""
        lines = [b"content-length: " + length for length in lengths]
        return self.head(*lines, without=(b"content-length",)) + self.body

    def coded(self, *lines, body):
        """With other lines in place of Content-Length, and a body that fits them or not."""
        return self.head(*lines, without=(b"content-length",)) + body

    def chunked(self):
        return self.coded(b"transfer-encoding: chunked", body=chunks(self.body))


def chunks(body, size=None, extension=b"", trailers=b""):
    """One chunk and the last one."""
    size = b"%x" % len(body) if size is None else size
    return size + extension + b"\r\n" + body + b"\r\n0\r\n" + trailers + b"\r\n"


def signed(sender, payload):
    headers = events.signed(KEYS[sender], f"msg_{next(COUNT)}", payload)
    return {field.encode(): value.encode() for field, value in headers.items()}


def event(account=None):
    account = account or f"K-{next(COUNT)}"
    body = events.event("account.updated", events.account(account, 1, [f"{account.lower()}@muster.example"]))
    return post("/v1/events", body, 200, ("account", account), signed("portal", body))


def mistaken():
    """An event that is refused at length: what is not known is named in the answer."""
    data = {f"{number}".rjust(NAME_CHARACTERS, "x"): None for number in range(MISTAKES)}
    body = events.event("account.closed", data)
    return post("/v1/events", body, 422, (), signed("portal", body))


def document(content=None):
    content = content or b"%%PDF-1.7 invoice %d\n" % next(COUNT) * 20
    digest = events.digest(content)
    fields = {**signed("billing", digest.encode()), b"content-type": b"application/pdf"}
    return request("PUT", f"/v1/documents/{digest}", content, 201, ("sha256", digest), fields)


def operation(token=None, action="resume", account=None):
    """Something that an operator does, about one account after the other, and that changes nothing here: none is
    paused."""
    count = next(COUNT)
    account = account or FIRST_ACCOUNTS[count % len(FIRST_ACCOUNTS)]
    body = json.dumps({"account": account, "reason": f"operation {count} " + "x" * 100}).encode()
    return post(f"/v1/{action}", body, 200, ("account", account), bearer(token))


def post(path, body, good, about, fields):
    return request("POST", path, body, good, about, {**fields, b"content-type": b"application/json"})


def request(method, path, body, good, about, fields):
    fields = {b"host": b"router.example", **fields, b"content-length": b"%d" % len(body)}
    return Request(f"{method} {path} HTTP/1.1".encode(), fields, body, good, about)


def bearer(token):
    return {b"authorization": b"Bearer " + token.encode()} if token else {}


def get(path, token=None, *more):
    fields = [name + b": " + value for name, value in bearer(token).items()]
    return b"\r\n".join([f"GET {path} HTTP/1.1".encode(), b"host: router.example", *fields, *more, b"", b""])


@dataclasses.dataclass(frozen=True)
class Kind:
    """A way to ask: where, and what."""

    name: str
    address: object
    # A good request, and one that must never be taken: it hides in others.
    good: object
    hidden: object
    token: str | None = None
    # The bytes of a request whose answer is so large that few of them fill all buffers.
    large: object = None

    def request(self):
        return dataclasses.replace(self.good(), kind=self)

    def probe(self):
        """Asks for what is not there, to see that the connection is where it should be."""
        return get("/v1/probe", self.token)


EVENT, DOCUMENT, OPERATION, SOCKET = "event", "document", "operation", "socket"
ALL = (EVENT, DOCUMENT, OPERATION, SOCKET)
WEBHOOK, ADMIN = (EVENT, DOCUMENT), (OPERATION, SOCKET)
# The hidden operation stops sending for an account that is known, and that no good operation is about.
HIDDEN_ACCOUNT, HIDDEN_CONTENT, HIDDEN_PAUSE = "HIDDEN", b"%PDF-1.7 hidden", "HIDDEN-PAUSE"


def kinds(house):
    token = setting.TOKEN

    def pause(token=None):
        return operation(token, "pause", HIDDEN_PAUSE)

    return {kind.name: kind for kind in (
        Kind(
            EVENT, house.address, event, lambda: event(HIDDEN_ACCOUNT),
            large=lambda: mistaken().whole()
        ),
        Kind(DOCUMENT, house.address, document, lambda: document(HIDDEN_CONTENT)),
        Kind(OPERATION, house.admin, lambda: operation(token), lambda: pause(token), token, lambda: get(PAGE, token)),
        Kind(SOCKET, str(house.admin_socket), operation, pause, large=lambda: get(PAGE)),
    )}
