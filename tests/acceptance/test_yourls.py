"""PyPI yourls, told of /yourls-api.php and of a key of utmost."""

import unittest

from utmost import BASE, Workspace, click, settled
from yourls import YOURLSClient


class Yourls(unittest.TestCase):
    def setUp(self):
        self.workspace = Workspace("links")
        self.client = YOURLSClient(f"{BASE}/yourls-api.php", signature=self.workspace.key)

    def test_a_link_is_made_expanded_and_counted(self):
        made = self.client.shorten("https://shop.test/hat?a=1", title="Hat")
        self.assertEqual(made.shorturl, f"{BASE}/{made.keyword}")
        self.assertEqual((made.url, made.title), ("https://shop.test/hat?a=1", "Hat"))
        self.assertEqual(self.client.expand(made.keyword), "https://shop.test/hat?a=1")
        self.assertEqual(self.client.expand(made.shorturl), "https://shop.test/hat?a=1")
        location, _ = click(made.shorturl)
        self.assertTrue(location.startswith("https://shop.test/hat?a=1&"), location)
        counted = settled(lambda: self.client.url_stats(made.keyword), lambda stats: stats.clicks == 1)
        self.assertEqual((counted.shorturl, counted.url), (made.shorturl, made.url))


if __name__ == "__main__":
    unittest.main()
