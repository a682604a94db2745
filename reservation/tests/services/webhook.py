"""Receives one event and checks it with the scheme's own library; then forges it in each way, and says what came of it.

Says `port N MICROSECONDS` first (the port, and what time it is here); reads the secret, one line; says JSON at the end.
"""

import http.server
import json
import sys
import time
from datetime import datetime, timedelta, timezone

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

came = {}


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        came["headers"] = {name.lower(): value for name, value in self.headers.items()}
        came["body"] = body.decode()
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def refused(webhook, body, headers):
    try:
        webhook.verify(body, headers)
        return None
    except WebhookVerificationError as error:
        return str(error)


server = http.server.HTTPServer(("127.0.0.1", 0), Receiver)
server.timeout = 30
print("port", server.server_port, int(time.time() * 1_000_000), flush=True)
webhook = Webhook(sys.stdin.readline().strip())
server.handle_request()
headers, body = came["headers"], came["body"]
signature = headers["webhook-signature"]
forged = signature[:-5] + ("A" if signature[-5] != "A" else "B") + signature[-4:]
old = datetime.now(tz=timezone.utc) - timedelta(minutes=10)
print(
    json.dumps(
        {
            "id": headers["webhook-id"],
            "verified": webhook.verify(body, headers),
            "forged": refused(webhook, body, headers | {"webhook-signature": forged}),
            "changed": refused(webhook, body.replace("test", "best"), headers),
            "other_id": refused(webhook, body, headers | {"webhook-id": "booked-1-1"}),
            "another_secret": refused(Webhook("whsec_" + "A" * 43 + "="), body, headers),
            "old": refused(
                webhook,
                body,
                headers
                | {
                    "webhook-timestamp": str(int(old.timestamp())),
                    "webhook-signature": webhook.sign(headers["webhook-id"], old, body),
                },
            ),
        }
    ),
    flush=True,
)
