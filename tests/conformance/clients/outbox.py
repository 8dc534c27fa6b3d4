"""The outbox of config/examples/README.md, its blocks as they are, with SQLite as the portal's database.

Portals have other databases; the statements are those that all of them take.
"""

import contextlib
import io
import json
import re
import sqlite3
import sys
from collections import Counter

from callers import CLIENTS, EXAMPLES
from daemon import FILES, NEVER, Daemon
from suite import expect

ACCOUNT = "K-5001"
ACCOUNTS = "CREATE TABLE accounts (id TEXT PRIMARY KEY, version INTEGER NOT NULL, billing_contact TEXT)"


def work(directory):
    with Daemon(directory, FILES, NEVER) as house:
        work_off(house)
    return Counter()


def work_off(house):
    """A portal changes an account while the daemon is away, while it is there, and wrongly."""
    text = (EXAMPLES / "README.md").read_text()
    outbox, change = re.findall(r"^```sql\n(.*?)^```$", text, re.S | re.M)
    [worker] = re.findall(r"^```python\n(.*?)^```$", text, re.S | re.M)
    sys.path.append(str(CLIENTS))
    import client
    scope = {}
    exec(compile(worker, "README.md", "exec"), scope)
    send_all = scope["send_all"]
    portal = client.Client(house.url, client.read_secrets(house.secret_file("portal")))

    database = sqlite3.connect(":memory:", isolation_level=None)
    database.execute(ACCOUNTS)
    database.execute("INSERT INTO accounts VALUES (?, 0, NULL)", (ACCOUNT,))
    database.executescript(outbox)
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        # The daemon is away: what is to be sent stays as it is.
        select(database, change, None)
        select(database, change, "u-7")
        before = rows(database)
        expect("rows of two changes", len(before), 2)
        client.ATTEMPTS = 1
        send_all(database, client.Client("http://127.0.0.1:1", portal.secrets))
        expect("rows while the daemon is away", rows(database), before)

        send_all(database, portal)
        expect("rows of which all were sent", rows(database), [])
        expect("account", current(house), (2, "u-7"))

        # An account that the daemon cannot answer for does not keep those after it from being sent.
        database.execute("INSERT INTO outbox VALUES ('evt_stuck', 'K-0', 1, 'stuck', 0), ('evt_next', 'K-1', 1, 'next', 0)")
        send_all(database, OneIsStuck())
        expect("rows after one that is stuck", [row[0] for row in rows(database)], ["evt_stuck"])
        database.execute("DELETE FROM outbox")

        # A worker that died before its commit does the last one again.
        database.execute("INSERT INTO outbox VALUES (?, ?, ?, ?, ?)", before[-1])
        send_all(database, portal)
        expect("rows of which all were sent again", rows(database), [])
        expect("what the repetition is called", "duplicate" in said.getvalue(), True)

        # Who is not there cannot be selected. The next change goes out all the same.
        select(database, change, "u-99")
        select(database, change, None)
        send_all(database, portal)
        expect("what stays", [(version, refused) for _, _, version, _, refused in rows(database)], [(3, 1)])
        expect("account", current(house), (4, None))


class OneIsStuck:
    """Stands for a daemon that has no answer for one account."""

    def push(self, body, webhook_id):
        from client import ACCEPTED, GAVE_UP
        return GAVE_UP if body == b"stuck" else ACCEPTED


def select(database, change, sub_user):
    """What a portal does when a user selects the billing contact."""
    values = {"account": ACCOUNT, "sub_user": sub_user}
    for statement in re.sub(r"--.*", "", change).split(";"):
        if "INSERT" in statement:
            [values["version"]] = database.execute("SELECT version FROM accounts").fetchone()
            values["webhook_id"] = f"evt_{ACCOUNT}_{values['version']}"
            values["body"] = json.dumps(event(values["version"], sub_user))
        if statement.strip():
            database.execute(statement, values)


def event(version, sub_user):
    contact = {"name": "Buchhaltung", "addresses": ["rechnung@outbox.example"]}
    return {"type": "account.updated", "timestamp": f"2026-11-23T08:0{version}:00Z", "data": {
        "account": ACCOUNT, "version": version,
        "main_contact": {"name": "Erika Muster", "addresses": ["erika@outbox.example"]},
        "sub_users": [{"id": "u-7", "group": "Rechnungen", "contact": contact}], "billing_contact": sub_user,
    }}


def rows(database):
    return database.execute("SELECT * FROM outbox ORDER BY version").fetchall()


def current(house):
    account = house.ask("account", ACCOUNT)
    return account["version"], account["billing_contact"]
