"""What the acceptance tests share: the running utmost, a workspace of one's own in it, people who click."""

import json
import os
import secrets
import time
import urllib.error
import urllib.request
from datetime import datetime, timedelta, timezone
from urllib.parse import parse_qs, urlsplit

BASE = os.environ["ACCEPTANCE_URL"]
PLATFORM_KEY = os.environ["ACCEPTANCE_KEY"]
BROWSER = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.6 Mobile/15E148 Safari/604.1"
)
SETTLED_WITHIN_S = 60


class Workspace:
    """A workspace that no other test sees, with a key of the given scopes."""

    def __init__(self, *scopes):
        self.id = f"ws-{secrets.token_hex(8)}"
        _request("POST", "/api/v1/workspaces", {"id": self.id, "name": "Acceptance"}, {})
        made = self.ask("POST", "/keys", {"name": "a scheduler", "scopes": scopes})
        self.key, self.signature_token = made["key"], made["signature_token"]

    def ask(self, method, path, body=None):
        return _request(method, f"/api/v1{path}", body, {"Utmost-Workspace": self.id})

    def report(self, by, net):
        """The rows of the attribution report by their keys, once its net revenue is as expected."""
        # Midnight may pass meanwhile.
        day = lambda offset: (datetime.now(timezone.utc) + timedelta(days=offset)).date()
        path = f"/reports/attribution?by={by}&model=last_touch&from={day(-1)}&to={day(2)}"
        read = lambda: self.ask("GET", path)
        answer = settled(read, lambda report: report["totals"]["net_revenue"] == net)
        return {row["key"]: row for row in answer["rows"]}


def _request(method, path, body, headers):
    headers = {"Authorization": f"Bearer {PLATFORM_KEY}", "Content-Type": "application/json", **headers}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(BASE + path, data, headers, method=method)
    try:
        with urllib.request.urlopen(request) as response:
            text = response.read()
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{method} {path}: {error.code} {error.read().decode()}") from error
    return json.loads(text) if text else None


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args):
        return None


def click(short_url):
    """A person who was never seen before follows a short link: where it leads, and the token that the shop gets."""
    request = urllib.request.Request(short_url, headers={"User-Agent": BROWSER})
    try:
        urllib.request.build_opener(_Stay).open(request)
    except urllib.error.HTTPError as answer:
        assert answer.code == 302, (short_url, answer.code)
        location = answer.headers["Location"]
        return location, parse_qs(urlsplit(location).query)["um_click"][0]
    raise AssertionError(f"{short_url} leads nowhere")


def settled(ask, is_settled):
    """Asks until the answer is as it should be: clicks and orders are counted a moment after they came."""
    end = time.monotonic() + SETTLED_WITHIN_S
    while True:
        answer = ask()
        if is_settled(answer):
            return answer
        assert time.monotonic() < end, f"it did not settle: {answer}"
        time.sleep(0.05)
