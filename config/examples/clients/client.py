#!/usr/bin/env python3
"""Pushes events and documents to invoice-router. Needs Python 3.9 and nothing beyond its standard library.

    client.py URL SECRET_FILE event FILE              an event, as JSON
    client.py URL SECRET_FILE document FILE           a document, before the invoice that names its digest
    client.py URL SECRET_FILE invoice FILE DOCUMENT…  an invoice's documents, then its event

Standard output has the last answer to each request as it came, standard error what it means. Exit code:
0 accepted · 1 refused, and the same again would be · 2 usage · 3 gave up: run it again later.

What trips people up before there is a FILE:
- Take the account's next version and read its data under one row lock, and write the event into an outbox in
  the same transaction (README.md, beside the events). Otherwise a change overtakes another, or is never told.
- Where there is no counter, the version is max(last + 1, Unix milliseconds), kept with the account: it must
  rise even if the clock is put back. The small events need versions without gaps, so send account.updated only.
- Ids and numbers are strings, and so are amounts ("119.00"): 0042 loses its zeros as a number, 0.1 is no float.
- The event's own time-stamp says when the change was made, with its offset: in UTC, with a Z.
"""

import base64
import hashlib
import hmac
import http.client
import json
import pathlib
import random
import sys
import time
import urllib.parse

ACCEPTED, REFUSED, USAGE, GAVE_UP = 0, 1, 2, 3
ATTEMPTS = 5
# Doubles with each attempt.
FIRST_DELAY_SECONDS = 1
# Whoever asks for more is asked again by the next run.
LONGEST_DELAY_SECONDS = 300
# The daemon gives a body 70 s.
TIME_OUT_SECONDS = 75

MEANINGS = {
    "applied": "it is in force",
    "stored": "the document is there for the invoice that names it",
    "duplicate": "it was known already, and nothing happened twice",
    "stale": "nothing changed: a newer version is stored, or the invoice was withdrawn before it was issued",
    "parked": "it is kept until its account comes; there is no need to send it again",
}


class Client:
    def __init__(self, url, secrets):
        self.url = urllib.parse.urlsplit(url.rstrip("/"))
        if self.url.scheme not in ("http", "https") or not self.url.hostname:
            raise ValueError(f"{url} is no http or https URL")
        self.secrets = secrets

    def push(self, body, webhook_id=None, fill_gap=None):
        """An event. `body` is what was serialised once: these bytes are signed, and these bytes are sent. A
        framework that is handed the data instead (`json=…`) serialises it again, and differently."""
        # The id belongs to the event, not to the attempt: it is how a repetition is known. An outbox has it in
        # the event's row; the digest does as well, since the same bytes get the same id in each run.
        webhook_id = webhook_id or "evt_" + hashlib.sha256(body).hexdigest()[:32]
        return self._send("POST", "/v1/events", "application/json", webhook_id, body, body, fill_gap)

    def upload(self, document):
        """A document's bytes. Render it once and keep them: a PDF that is rendered again has another digest,
        which makes it another document and the event another invoice (409 invoice_conflict)."""
        # What is signed are the 64 digits: the libraries cannot sign bytes that are no text.
        digest = hashlib.sha256(document).hexdigest()
        path, webhook_id = f"/v1/documents/{digest}", "doc_" + digest[:32]
        return self._send("PUT", path, "application/octet-stream", webhook_id, digest.encode(), document)

    def hand_over(self, body, documents):
        """An invoice: its documents, then the event that names their digests."""
        for document in documents:
            outcome = self.upload(document)
            if outcome != ACCEPTED:
                return outcome
        return self.push(body, fill_gap=lambda: [self.upload(document) for document in documents])

    def _send(self, method, path, content_type, webhook_id, payload, body, fill_gap=None):
        text = None
        outcome = GAVE_UP
        for attempt in range(1, ATTEMPTS + 1):
            # Of this attempt, unlike the id and the body: five minutes off is refused.
            headers = {"content-type": content_type, **signed_headers(self.secrets, webhook_id, payload)}
            text, retry_after, code = None, 0, None
            try:
                status, retry_after, text = self._exchange(method, path, headers, body)
            except (OSError, http.client.HTTPException) as error:
                # It may have arrived all the same. Under the same id it is safe to ask again.
                say(f"attempt {attempt}: {error or type(error).__name__}")
            else:
                answer = as_object(text)
                code = answer.get("code")
                if 200 <= status <= 299 and answer.get("result") in MEANINGS:
                    explain(answer)
                    outcome = ACCEPTED
                    break
                say(f"attempt {attempt}: {status} {answer.get('detail', 'with no answer of invoice-router')}")
                explain_problem(answer)
                if not may_retry(status, answer):
                    outcome = REFUSED
                    break
            if attempt == ATTEMPTS or retry_after > LONGEST_DELAY_SECONDS:
                say("gave up; run this again later")
                break
            if code == "document_missing" and fill_gap:
                fill_gap()
            # Not all at once, after a fault that all met at once.
            time.sleep(retry_after + FIRST_DELAY_SECONDS * 2 ** (attempt - 1) * random.uniform(0.5, 1))
        if text is not None:
            print(text, flush=True)
        return outcome

    def _exchange(self, method, path, headers, body):
        """One attempt: the status, Retry-After in seconds, the answer. Redirects are not followed."""
        by = http.client.HTTPSConnection if self.url.scheme == "https" else http.client.HTTPConnection
        connection = by(self.url.hostname, self.url.port, timeout=TIME_OUT_SECONDS)
        try:
            try:
                connection.request(method, self.url.path + path, body, headers)
            except (BrokenPipeError, ConnectionResetError):
                pass  # It may have answered before it was sent everything: 413, say.
            response = connection.getresponse()
            after = response.getheader("retry-after", "")
            text = response.read().decode(errors="replace")
            return response.status, int(after) if after.isascii() and after.isdigit() else 0, text
        finally:
            connection.close()


def read_secrets(path):
    """The secrets, one a line. Two, while the old one is being replaced: a signature by each is sent, and the
    daemon takes whichever it knows."""
    lines = [line.strip() for line in pathlib.Path(path).read_text().splitlines()]
    secrets = [line for line in lines if line and not line.startswith("#")]
    if not secrets:
        raise ValueError(f"{path} holds no secret")
    for secret in secrets:
        signature(secret, "", 0, b"")
    return secrets


def signed_headers(secrets, webhook_id, payload):
    # Seconds since 1970 are UTC wherever the machine stands; datetime.utcnow().timestamp() is not. A clock that
    # is set by NTP is needed all the same.
    timestamp = int(time.time())
    signatures = [signature(secret, webhook_id, timestamp, payload) for secret in secrets]
    return {
        "webhook-id": webhook_id, "webhook-timestamp": str(timestamp), "webhook-signature": " ".join(signatures),
    }


def signature(secret, webhook_id, timestamp, payload):
    """Standard Webhooks 1.0. The key is what the base64 behind whsec_ stands for, not its text."""
    if not secret.startswith("whsec_"):
        raise ValueError("a secret begins with whsec_")
    key = base64.b64decode(secret[len("whsec_"):], validate=True)
    signed = f"{webhook_id}.{timestamp}.".encode() + payload
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def may_retry(status, answer):
    """Whether the same request can succeed later. No other 4xx ever does: somebody has to look."""
    return status in (408, 429) or status >= 500 or answer.get("retryable") is True


def explain(answer):
    say(f"{answer['result']}: {MEANINGS[answer['result']]}")
    if answer.get("state") == "sending":
        say("it is being sent at this moment; ask for the invoice's state again")
    for number in answer.get("in_flight", []):
        say(f"the mail with {number} was on its way to the recipient of before and could not be stopped")
    for warning in answer.get("warnings", []):
        say(f"warning {warning['code']} at {warning['field']}: {warning['detail']}")


def explain_problem(answer):
    code = answer.get("code")
    if code is None:
        return
    # The daemon's log has more under the request_id.
    say(f"  {code}, request_id {answer.get('request_id')}")
    for error in answer.get("errors", []):
        say(f"  {error.get('pointer', error.get('parameter'))}: expected {error.get('expected')}")
    if code == "version_gap":
        say(f"  send the account's events after version {answer.get('current_version')} first, or its account.updated")
    elif code == "document_missing":
        say(f"  upload first: {', '.join(answer.get('missing', []))}")


def as_object(text):
    """A proxy in between may answer with anything."""
    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    return answer if isinstance(answer, dict) else {}


def say(words):
    print(words, file=sys.stderr, flush=True)


def main(words):
    url, secret_file, command, *files = words if len(words) > 3 else [None] * 3
    if not files or command not in ("event", "document", "invoice") or (command != "invoice" and len(files) > 1):
        say(__doc__.split("\n\n")[1])
        return USAGE
    try:
        client = Client(url, read_secrets(secret_file))
        contents = [pathlib.Path(file).read_bytes() for file in files]
    except (OSError, ValueError) as error:
        say(error)
        return USAGE
    if command == "event":
        return client.push(contents[0])
    if command == "document":
        return client.upload(contents[0])
    body, *documents = contents
    for file, document in zip(files[1:], documents):
        if hashlib.sha256(document).hexdigest().encode() not in body:
            say(f"{files[0]} does not name the digest of {file}: was it rendered again?")
            return USAGE
    return client.hand_over(body, documents)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
