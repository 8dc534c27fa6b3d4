"""The head of a message, read as RFC 5322 means it: whatever was folded is one value."""

import email.parser
import email.policy

PARSER = email.parser.BytesHeaderParser(policy=email.policy.SMTP)


def head(raw):
    """The header fields of a message; a name that occurs twice has no value."""
    return Head(PARSER.parsebytes(raw.partition(b"\r\n\r\n")[0]))


class Head:
    def __init__(self, fields):
        self.fields = fields

    def __getitem__(self, name):
        found = self.fields.get_all(name, [])
        return str(found[0]) if len(found) == 1 else f"{len(found)} of {name}"

    def has(self, name):
        return name in self.fields

    def addresses(self, name):
        """The addresses that the fields of this name list, in their order."""
        return tuple(one.addr_spec for field in self.fields.get_all(name, []) for one in field.addresses)
