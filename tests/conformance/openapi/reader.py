"""Reads and holds an invoice by the generated Python client: URL TOKEN ACCOUNT NUMBER, and prints its two states."""

import sys

from client import AuthenticatedClient
from client.api.admin import get_invoice, hold_invoice
from client.models import OperationAnswer, Reason, State, WholeInvoice

url, token, account, number = sys.argv[1:]
with AuthenticatedClient(url, token, raise_on_unexpected_status=True) as client:
    invoice = get_invoice.sync(account, number, client=client)
    assert isinstance(invoice, WholeInvoice), invoice
    assert invoice.state is State.WAITING, invoice.state
    held = hold_invoice.sync(account, number, client=client, body=Reason(reason="to be looked at"))
    assert isinstance(held, OperationAnswer), held
    assert held.state is State.HELD, held.state
    print(invoice.state, held.state)
