"""PyPI pyshorteners, whose Bitly is told of /v4 and of a key of utmost."""

import unittest

import pyshorteners
from pyshorteners.exceptions import BadAPIResponseException, ExpandingErrorException, ShorteningErrorException

from utmost import BASE, Workspace, click, settled


def bitly(key, path="/v4"):
    client = pyshorteners.Shortener(api_key=key).bitly
    client.api_url = BASE + path
    return client


class Bitly(unittest.TestCase):
    def test_a_link_is_made_expanded_and_counted(self):
        client = bitly(Workspace("links").key)
        short = client.short("https://shop.test/hat?a=1")
        self.assertTrue(short.startswith(f"{BASE}/"), short)
        self.assertEqual(client.expand(short), "https://shop.test/hat?a=1")
        self.assertEqual(client.total_clicks(short), 0)
        click(short)
        click(short)
        settled(lambda: client.total_clicks(short), lambda clicks: clicks == 2)

    def test_mistakes_come_as_the_errors_that_the_client_knows(self):
        key = Workspace("links").key
        client = bitly(key, "/bitly/v4")
        with self.assertRaisesRegex(ShorteningErrorException, "INVALID_ARG.*long_url|long_url.*INVALID_ARG"):
            client.short(f"{BASE}/loop")
        with self.assertRaisesRegex(ExpandingErrorException, "NOT_FOUND"):
            client.expand(f"{BASE}/of-nobody")
        with self.assertRaisesRegex(BadAPIResponseException, "NOT_FOUND"):
            client.total_clicks(f"{BASE}/of-nobody")
        with self.assertRaisesRegex(ShorteningErrorException, "FORBIDDEN"):
            bitly(f"{key}x").short("https://shop.test")


if __name__ == "__main__":
    unittest.main()
