"""Signs with the library of PyPI, one line of JSON for each of standard input: {secret, id, timestamp, payload}."""

import json
import sys
from datetime import datetime, timezone

from standardwebhooks import Webhook

for line in sys.stdin:
    asked = json.loads(line)
    moment = datetime.fromtimestamp(asked["timestamp"], timezone.utc)
    print(Webhook(asked["secret"]).sign(asked["id"], moment, asked["payload"]), flush=True)
