"""What schemathesis cannot know from the description alone: how requests are signed, and where to.

And the rules beyond any JSON Schema, for data that should be accepted: which day a month has, which decimals a
currency, that a selection names a sub-user who is there.
"""

import atexit
import base64
import calendar
import collections
import hashlib
import json
import os
import re
import urllib.parse

import events
import requests
import schemathesis
from schemathesis.core.failures import AcceptedNegativeData

ADMIN, WEBHOOK = os.environ["ADMIN"], os.environ["WEBHOOK"]
KEY = base64.b64decode(os.environ["WEBHOOK_SECRET"].removeprefix("whsec_"))
DAY = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")

LINES = "application/x-ndjson"

counts = collections.Counter()
# What was answered and can be named afterwards: cursors of lists, digests of documents.
cursors = set()
digests = []


class Signed(requests.auth.AuthBase):
    """Signs what is sent, down to the byte; at the admin interface it shows the token."""

    def __init__(self):
        self.sent = 0

    def __call__(self, request):
        path = urllib.parse.urlsplit(request.url).path
        if request.url.startswith(ADMIN):
            request.headers["authorization"] = f"Bearer {os.environ['ADMIN_TOKEN']}"
            return request
        self.sent += 1
        if path.startswith("/v1/documents/"):
            payload = path.rpartition("/")[2].encode()
        else:
            payload = request.body or b""
            payload = payload.encode() if isinstance(payload, str) else payload
        request.headers.update(events.signed(KEY, f"evt_{self.sent}", payload))
        return request


schemathesis.auth.set_from_requests(Signed())


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """Has batches made and read line by line, by the schema of a line that is described beside them."""
    operations = [item["post"] for item in raw_schema["paths"].values() if "post" in item]
    for operation in operations:
        for described in (operation.get("requestBody", {}), operation["responses"]["200"]):
            media = described.get("content", {}).get(LINES)
            if media:
                media["schema"] = {"type": "array", "minItems": 1, "items": media["x-line-schema"]}
                for example in media.get("examples", {}).values():
                    example["value"] = [json.loads(line) for line in example["value"].splitlines()]


@schemathesis.serializer(LINES)
def write_lines(context, value):
    return "\n".join(json.dumps(line) for line in (value if isinstance(value, list) else [value])).encode()


@schemathesis.deserializer(LINES)
def read_lines(context, response):
    return [json.loads(line) for line in response.content.splitlines()]


@schemathesis.check
def is_let_in(context, response, case):
    """What is as described is signed, and not too much: without this a run could be refused from end to end."""
    if mode(case) == "positive":
        assert response.status_code not in (401, 429), response.text


@schemathesis.check
def lines_are_judged(context, response, case):
    """A batch is answered 200 whatever becomes of its lines: what is expected of an answer is expected of each."""
    if response.status_code == 200 and is_batch(response) and mode(case) == "positive":
        refused = [line for line in read_lines(None, response) if line["status"] not in (200, 409)]
        assert not refused, refused


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """A batch with a line that is refused was rejected as far as it should be."""
    if isinstance(failure, AcceptedNegativeData) and is_batch(response):
        return all(line["status"] == 200 for line in read_lines(None, response))
    return True


def is_batch(response):
    return LINES in str(response.headers.get("content-type"))


@schemathesis.hook
def before_init_operation(context, operation):
    is_admin = "admin" in operation.definition.raw["tags"]
    operation.base_url = ADMIN if is_admin else WEBHOOK


@schemathesis.hook
def before_call(context, case, kwargs):
    if mode(case) != "positive":
        return
    if case.operation.path == "/v1/documents/{sha256}":
        body = case.body.encode() if isinstance(case.body, str) else bytes(case.body)
        case.path_parameters["sha256"] = hashlib.sha256(body).hexdigest()
    elif isinstance(case.body, dict | list):
        case.body = possible(case.body)
    for name in ("issued_from", "issued_to", "changed_since"):
        if isinstance(case.query.get(name), str):
            case.query[name] = a_day_that_is(case.query[name])
    if "cursor" in case.query and (case.operation.path, case.query["cursor"]) not in cursors:
        del case.query["cursor"]


@schemathesis.hook
def after_call(context, case, response):
    listener = "admin" if response.request.url.startswith(ADMIN) else "webhook"
    phase = case.meta.phase.name.value if case.meta else "none"
    counts[listener, mode(case), phase, f"{response.status_code // 100}xx"] += 1
    if response.status_code == 200 and b'"next_cursor"' in response.content:
        cursor = response.json()["next_cursor"]
        if cursor is not None:
            cursors.add((case.operation.path, cursor))
    if response.status_code == 201:
        digests.append(response.json()["sha256"])


@atexit.register
def tell():
    with open(os.environ["COUNTS"], "w") as file:
        json.dump([[*what, count] for what, count in counts.items()], file)


def mode(case):
    """Whether it is data that the description allows; of some cases that is not known."""
    return case.meta.generation.mode.value if case.meta else "none"


def possible(value):
    """The same within what no schema can say."""
    if isinstance(value, list):
        return [possible(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        # An integer to a JSON Schema, and not to a reader of versions.
        return int(value)
    if not isinstance(value, dict):
        return a_day_that_is(value) if isinstance(value, str) and DAY.match(value) else value
    value = {name: possible(member) for name, member in value.items()}
    if {"amount", "currency"} <= value.keys():
        value = {"amount": re.sub(r"(\.[0-9]{2})[0-9]+", r"\1", value["amount"]), "currency": "EUR"}
    if "addresses" in value and value["addresses"]:
        # Host names in other scripts have rules of their own, which the unit tests know.
        locals_ = {address.rpartition("@")[0] for address in value["addresses"]}
        value["addresses"] = [f"{local}@muster.example" for local in sorted(locals_)]
    if value.get("file_name"):
        # Of other scripts the description allows more than letters.
        value["file_name"] = re.sub(r"[^ -~]", "ä", value["file_name"])
    if value.get("sha256") and digests:
        value["sha256"] = digests[-1]
    if value.get("documents"):
        value["documents"] = list({document["file_name"]: document for document in value["documents"]}.values())
    if value.get("sub_users"):
        value["sub_users"] = list({sub_user["id"]: sub_user for sub_user in value["sub_users"]}.values())
    if "billing_contact" in value:
        value["billing_contact"] = selected(value["sub_users"])
    if value.get("portal_url"):
        value["portal_url"] = re.sub(r"^(https://[^/?#:]+):[0-9]+", r"\1:8443", value["portal_url"])
    if value.get("schedule"):
        value["schedule"] = "default"
    return value


def selected(sub_users):
    """One of them, who is put into a billing group."""
    for sub_user in sub_users:
        if sub_user["contact"]["addresses"]:
            sub_user["group"] = "Rechnungen"
            return sub_user["id"]
    return None


def a_day_that_is(text):
    """The same with a day that the month has, if it begins with one."""
    found = DAY.match(text)
    if not found:
        return text
    year, month, day = map(int, found.groups())
    last = calendar.monthrange(max(year, 1), month)[1]
    return f"{found[1]}-{found[2]}-{min(day, last):02}{text[10:]}"
