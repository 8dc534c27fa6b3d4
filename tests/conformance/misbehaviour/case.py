"""What a client does wrong and what must come of it, as data; and the judgement."""

import dataclasses
import time

import asking
import wire
from suite import Wrong

# What is refused without waiting is refused within this time, on a machine that is busy with something else; the
# daemon takes in what is left of an unwanted body for a second. It is no time-out yet.
AT_ONCE = 2.5
# How much later than its limit a time-out may come, on such a machine; the latest is printed. It is never early.
SLACK_SECONDS = 5.0


@dataclasses.dataclass(frozen=True)
class Answer:
    status: int
    # That of the problem. Without one the body is empty: hyper refuses what it cannot parse by itself.
    code: str | None = None

    def __str__(self):
        return f"{self.status} {self.code}" if self.code else str(self.status)


# A success, and the status of it is the request's.
GOOD = Answer(0)
CONTINUE = Answer(100)
UNPARSED, HEAD_TOO_LARGE = Answer(400), Answer(431)
BAD_HEAD, INCOMPLETE = Answer(400, "bad_head"), Answer(400, "incomplete_body")
UNSIGNED, NOT_FOUND = Answer(401, "signature_invalid"), Answer(404, "not_found")
NO_METHOD, TIME_OUT = Answer(405, "method_not_allowed"), Answer(408, "time_out")
NO_LENGTH, TOO_LARGE = Answer(411, "length_required"), Answer(413, "too_large")

# The connection goes on, in step: what is asked next gets its own answer.
KEPT = "kept"
CLOSED = "closed"


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    # From a good request to what is done instead: bytes, or steps of a conversation.
    spoil: object
    # Every answer, in order, and nothing else.
    answers: tuple
    end: str
    kinds: tuple = asking.ALL
    # When the connection ends, or the last answer is there.
    not_before: float = 0
    within: float = AT_ONCE
    # Behind it comes a request that hides and must not be taken. What is behind the end of a body about which there is
    # no doubt is no smuggling but the next request; such an end is in none of these.
    hides: bool = False


def cases(answers, end, spoilt, kinds=asking.ALL):
    """The same must come of all of these, each by its name."""
    return [Case(name, spoil, answers, end, kinds, hides=end == CLOSED) for name, spoil in spoilt.items()]


def hidden(request):
    return request.kind.hidden().whole()


def run(case, kind, source=None):
    """Does it once: how much later than it may it ended. What is wrong about what came is the exception."""
    request = kind.request()
    spoilt = case.spoil(request)
    if case.hides and isinstance(spoilt, bytes):
        spoilt += hidden(request)
    steps = spoilt if isinstance(spoilt, list) else [spoilt]
    wanted = [Answer(request.good) if answer is GOOD else answer for answer in case.answers]
    enough = None
    if case.end == KEPT:
        steps += [wire.answered(len(wanted)), kind.probe()]
        wanted.append(NOT_FOUND)
        enough = len(wanted)
    began = time.monotonic()
    try:
        with wire.connect(kind.address, source) as connection:
            heard = wire.converse(connection, steps, enough, case.within + SLACK_SECONDS, began)
        answers = [Answer(answer.status, answer.code) for answer in heard.answers]
    except (OSError, wire.Garbled, ValueError, KeyError) as error:
        raise Wrong(f"{case.name} ({kind.name}): {error!r}") from error
    check(case, kind, wanted, answers, heard)
    check_order(case, [request, *request.others], heard)
    return heard.seconds - case.not_before


def check(case, kind, wanted, answers, heard):
    end = CLOSED if heard.closed else KEPT
    said = [f"{answer} after {one.seconds:.2f} s" for answer, one in zip(answers, heard.answers)]
    if len(said) > 5:
        said[2:-2] = [f"… {len(said)} answers …"]
    what = f"{case.name} ({kind.name}): came {', '.join(said) or 'nothing'}; {end} after {heard.seconds:.2f} s"
    if answers != wanted:
        raise Wrong(f"{what}; expected {len(wanted)} answers: {', '.join(map(str, wanted[:5]))}")
    if heard.input:
        raise Wrong(f"{what}; then {bytes(heard.input[:80])}")
    if end != case.end:
        raise Wrong(f"{what}; expected {case.end}")
    if not case.not_before <= heard.seconds <= case.within:
        raise Wrong(f"{what}; expected from {case.not_before} to {case.within} s")
    for answer in heard.answers:
        is_bare = answer.code is None and answer.status >= 400
        if is_bare and answer.body:
            raise Wrong(f"{what}; a refusal that is no problem document: {answer.body[:80]}")


def check_order(case, requests, heard):
    """Each success is the answer to its own request."""
    said = [answer.json for answer in heard.answers if 200 <= answer.status < 300]
    for request, answer in zip(requests[len(requests) - len(said):], said, strict=True):
        name, value = request.about
        if answer[name] != value:
            raise Wrong(f"{case.name} ({request.kind.name}): expected an answer about {value}, came {answer}")
