"""PyPI yourls, told of /yourls-api.php and of a key of utmost, and the ways of YOURLS that it does not know."""

import hashlib
import time
import unittest
from datetime import datetime, timedelta, timezone
from xml.etree import ElementTree

import requests
from yourls import YOURLSClient, YOURLSHTTPError, YOURLSNoLoopError, YOURLSNoURLError

from utmost import BASE, PLATFORM_KEY, Workspace, click, settled

API = f"{BASE}/yourls-api.php"


class Yourls(unittest.TestCase):
    def setUp(self):
        self.workspace = Workspace("links")
        self.client = YOURLSClient(API, signature=self.workspace.key)

    def test_a_link_is_made_expanded_and_counted(self):
        keyword = f"hat-{self.workspace.id[-8:]}"
        made = self.client.shorten("https://shop.test/hat?a=1", keyword=keyword, title="Hat")
        self.assertEqual((made.keyword, made.shorturl), (keyword, f"{BASE}/{keyword}"))
        self.assertEqual((made.url, made.title, made.clicks), ("https://shop.test/hat?a=1", "Hat", 0))
        now = datetime.now(timezone.utc).replace(tzinfo=None)
        self.assertLess(abs(now - made.date), timedelta(minutes=1))
        self.assertEqual(self.client.expand(keyword), "https://shop.test/hat?a=1")
        self.assertEqual(self.client.expand(made.shorturl), "https://shop.test/hat?a=1")

        location, _ = click(made.shorturl)
        self.assertTrue(location.startswith("https://shop.test/hat?a=1&"), location)
        counted = settled(lambda: self.client.url_stats(keyword), lambda stats: stats.clicks == 1)
        self.assertEqual((counted.shorturl, counted.url, counted.title), (made.shorturl, made.url, "Hat"))

    def test_links_are_listed_with_their_clicks(self):
        made = [self.client.shorten(f"https://shop.test/{name}") for name in ("a", "b", "c")]
        for _ in range(2):
            click(made[1].shorturl)
        click(made[2].shorturl)
        settled(self.client.db_stats, lambda stats: stats.total_clicks == 3)
        self.assertEqual(self.client.db_stats().total_links, 3)

        def seen(*args):
            links, stats = self.client.stats(*args)
            self.assertEqual((stats.total_links, stats.total_clicks), (3, 3))
            return [(link.url[-1], link.clicks) for link in links]

        self.assertEqual(seen("top", 3), [("b", 2), ("c", 1), ("a", 0)])
        self.assertEqual(seen("bottom", 2), [("a", 0), ("c", 1)])
        self.assertEqual(seen("last", 2), [("c", 1), ("b", 2)])
        self.assertEqual(seen("last", 1, 2), [("a", 0)])
        self.assertEqual(sorted(seen("random", 3)), [("a", 0), ("b", 2), ("c", 1)])

    def test_mistakes_come_as_the_errors_that_the_client_knows(self):
        made = self.client.shorten("https://shop.test")
        # As with YOURLS since 1.9, whose answer to a keyword that is taken has the status 400.
        with self.assertRaisesRegex(YOURLSHTTPError, "400"):
            self.client.shorten("https://shop.test", keyword=made.keyword)
        with self.assertRaises(YOURLSNoURLError):
            self.client.shorten("")
        with self.assertRaises(YOURLSNoLoopError):
            self.client.shorten(made.shorturl)
        with self.assertRaisesRegex(YOURLSHTTPError, "not found"):
            self.client.expand("of-nobody")
        with self.assertRaisesRegex(YOURLSHTTPError, "not found"):
            self.client.url_stats("of-nobody")
        with self.assertRaisesRegex(YOURLSHTTPError, "log in"):
            YOURLSClient(API, signature=f"{self.workspace.key}x").db_stats()
        with self.assertRaisesRegex(YOURLSHTTPError, "log in"):
            YOURLSClient(API).shorten("https://shop.test")

    def test_each_way_to_sign_in_works(self):
        client = YOURLSClient(API, username="whoever", password=self.workspace.key)
        self.assertEqual(client.db_stats().total_links, 0)
        now = str(int(time.time()))
        token = self.workspace.signature_token
        for hashed, name in [(hashlib.md5, None), (hashlib.sha256, "sha256")]:
            signature = hashed((now + token).encode()).hexdigest()
            query = {"action": "db-stats", "format": "json", "timestamp": now, "signature": signature, "hash": name}
            answer = requests.get(API, query)
            self.assertEqual((answer.status_code, answer.json()["statusCode"]), (200, "200"), answer.text)
            wrong = requests.get(API, {**query, "timestamp": str(int(now) - 1)})
            self.assertEqual(wrong.status_code, 403, wrong.text)

    def test_one_platform_key_acts_for_each_workspace(self):
        self.client.shorten("https://shop.test")
        query = {"action": "db-stats", "format": "json", "signature": PLATFORM_KEY}
        answer = requests.get(API, query, headers={"Utmost-Workspace": self.workspace.id})
        self.assertEqual(answer.json()["db-stats"]["total_links"], "1")

    def test_each_format_is_written(self):
        made = self.client.shorten("https://shop.test/hat")
        query = {"action": "expand", "shorturl": made.keyword, "signature": self.workspace.key}
        xml = ElementTree.fromstring(requests.post(API, query).content)
        self.assertEqual((xml.tag, xml.findtext("longurl")), ("result", "https://shop.test/hat"))
        simple = requests.post(API, {**query, "format": "simple"})
        self.assertEqual(simple.text, "https://shop.test/hat")
        jsonp = requests.get(API, {**query, "format": "jsonp", "callback": "show"})
        self.assertTrue(jsonp.text.startswith("show({") and jsonp.text.endswith("})"), jsonp.text)
        version = requests.get(API, {**query, "action": "version", "format": "json"}).json()["version"]
        self.assertRegex(version, r"^1\.\d+")


if __name__ == "__main__":
    unittest.main()
