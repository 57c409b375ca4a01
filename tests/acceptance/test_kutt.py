"""PyPI kutt, told of utmost and of a key of it: under /kutt, where npm's is told of the root. It sends forms."""

import unittest

from kutt import kutt

from utmost import BASE, Workspace, click, settled

LINKS = f"{BASE}/kutt/api/v2/links"


class Kutt(unittest.TestCase):
    def setUp(self):
        self.key = Workspace("links").key

    def ask(self, call, code, *args, **kwargs):
        answer = call(self.key, *args, host_url=LINKS, **kwargs)
        self.assertEqual(answer["code"], code, answer)
        return answer["data"]

    def test_links_are_made_used_again_changed_and_deleted(self):
        made = self.ask(kutt.submit, 201, "https://shop.test/hat?a=1", description="Hat", expire_in="2 days")
        self.assertEqual(made["link"], f"{BASE}/{made['address']}")
        self.assertEqual((made["target"], made["description"]), ("https://shop.test/hat?a=1", "Hat"))
        again = self.ask(kutt.submit, 200, "https://shop.test/hat?a=1", reuse=True)
        self.assertEqual(again["id"], made["id"])
        another = self.ask(kutt.submit, 201, "https://shop.test/hat?a=1", reuse=False)
        self.assertNotEqual(another["id"], made["id"])

        new = f"{made['address']}-2"
        changed = self.ask(kutt.update, 200, made["id"], "https://shop.test/cap", new)
        self.assertEqual((changed["address"], changed["target"]), (new, "https://shop.test/cap"))
        listed = self.ask(kutt.links, 200, limit=1, skip=1)
        self.assertEqual((listed["total"], [link["id"] for link in listed["data"]]), (2, [made["id"]]))

        self.assertIn("deleted", self.ask(kutt.delete, 200, made["id"])["message"])
        self.assertEqual(self.ask(kutt.links, 200)["total"], 1)

    def test_clicks_come_back(self):
        made = self.ask(kutt.submit, 201, "https://shop.test/hat")
        click(made["link"])
        read = lambda: self.ask(kutt.stats, 200, made["id"])
        stats = settled(read, lambda stats: stats["visit_count"] == 1)
        self.assertEqual((stats["target"], stats["lastDay"]["total"]), ("https://shop.test/hat", 1))
        self.assertEqual(len(stats["lastDay"]["views"]), 24)

    def test_mistakes_have_a_text(self):
        taken = self.ask(kutt.submit, 201, "https://shop.test")["address"]
        error = self.ask(kutt.submit, 400, "https://x.test", customurl=taken)["error"]
        self.assertIn("taken", error)
        self.assertIn("password", self.ask(kutt.submit, 400, "https://x.test", password="secret")["error"])
        self.assertIn("no link", self.ask(kutt.stats, 404, "of-nobody")["error"])
        self.key += "x"
        self.assertIn("key", self.ask(kutt.links, 401)["error"])


if __name__ == "__main__":
    unittest.main()
