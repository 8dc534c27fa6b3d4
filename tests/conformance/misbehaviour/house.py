"""The daemon of this suite, and what can be seen of it from outside."""

import pathlib
import re
import resource

from daemon import FILES, NEVER, Daemon, token
from setting import (
    BODY_SECONDS, CACHE_BYTES, CONNECTIONS, DOCUMENT_BYTES, EVENT_BODY_BYTES, FLOOD, HEADER_BYTES, HEADER_SECONDS,
    TOKEN,
)
from suite import wait_until

# What a process needs beside the connections of a flood.
OTHER_FILES = 600
# What large bodies share, and what each body has beside. One that grows is copied, so that for a moment some are
# there twice: half as much again.
SHARED_BODIES_BYTES, OWN_BODY_BYTES = 128 * 1024 * 1024 * 3 // 2, 64 * 1024
NO_BODIES, SMALL_BODIES, LARGE_BODIES = "none", "small", "large"
# A large one each, of so few that they do not use up what all share.
OWN_LARGE_BODIES = "one each"
# What an answer takes while it is made and written: the largest page, as a tree and as text.
ANSWER_BYTES = 4 * 1024 * 1024
# What a connection costs beside what may be sent to it: its task, its timers, what is written to it.
CONNECTION_BYTES = 24 * 1024
# What is not counted by connection: stacks, what is being committed, what the allocator keeps for the next time,
# which after large bodies is most of the difference.
WORKING_BYTES = 64 * 1024 * 1024

CHANGES = {
    "state": {"cache_bytes": CACHE_BYTES},
    "webhook": {
        "event_body_bytes": EVENT_BODY_BYTES, "document_bytes": DOCUMENT_BYTES, "connections": CONNECTIONS,
        "header_seconds": HEADER_SECONDS, "body_seconds": BODY_SECONDS,
    },
}


def raise_open_files():
    """Lets this process and the daemon have as many open files as a flood needs; whether that is allowed."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FLOOD + OTHER_FILES
    is_enough = most == resource.RLIM_INFINITY or most >= wanted
    try:
        # Root may have more than it was given.
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most if is_enough else wanted))
    except (ValueError, OSError):
        return False
    return True


class House(Daemon):
    """The daemon and its addresses."""

    def __init__(self, directory):
        super().__init__(directory, CHANGES, FILES, NEVER, token(directory, TOKEN))
        self.connections = CONNECTIONS

    def start(self):
        super().start()
        self.place = pathlib.Path("/proc", str(self.process.pid))
        self.admin = ("127.0.0.1", self.admin_port())
        self.first_files = self.open_files()

    def open_files(self):
        return sum(1 for _ in (self.place / "fd").iterdir())

    def open_files_at_rest(self, seconds):
        """How many there are once they are no more than at rest, or after so long."""
        wait_until(lambda: self.open_files() <= self.rest_files, seconds, 0.02)
        return self.open_files()

    def memory(self):
        """What is resident now, and the most since `forget_peak`, in bytes."""
        status = (self.place / "status").read_text()
        return tuple(int(re.search(rf"^{name}:\s+(\d+) kB", status, re.M)[1]) * 1024 for name in ("VmRSS", "VmHWM"))

    def forget_peak(self):
        (self.place / "clear_refs").write_text("5")

    def memory_bound(self, connections, bodies, are_answers_large):
        """What so many connections may make of the memory that it takes at rest, with heads as long as they may be."""
        each = HEADER_BYTES + CONNECTION_BYTES + (0 if bodies == NO_BODIES else OWN_BODY_BYTES)
        if bodies == OWN_LARGE_BODIES:
            each += DOCUMENT_BYTES * 3 // 2
        if are_answers_large:
            each += ANSWER_BYTES
        shared = SHARED_BODIES_BYTES if bodies == LARGE_BODIES else 0
        return self.rest_bytes + CACHE_BYTES + WORKING_BYTES + min(connections, self.connections) * each + shared

    def rest(self, connections):
        """It is at rest now, with so many connections: what it has open and in memory is what everything is compared
        with."""
        self.rest_files, self.rest_bytes = self.first_files + connections, self.memory()[0]
