"""PyPI dub, told of another server and of a key of utmost: at the root, where npm's is told of /dub."""

import unittest

from dub import Dub
from dub.models import errors

from utmost import BASE, Workspace, click, settled


class Links(unittest.TestCase):
    def setUp(self):
        self.workspace = Workspace("links", "conversions", "reports")
        self.dub = Dub(token=self.workspace.key, server_url=BASE)

    def test_a_link_is_made_read_changed_and_deleted(self):
        links = self.dub.links
        made = links.create(
            request={
                "url": "https://shop.test/hat?a=1",
                "external_id": "post-7",
                "tenant_id": "org-1",
                "tag_names": ["summer", "reel"],
                "title": "Hat",
                "expires_at": "2030-01-02T00:00:00Z",
                "utm_source": "instagram",
            }
        )
        self.assertEqual(made.short_link, f"{BASE}/{made.key}")
        self.assertEqual((made.url, made.title, made.tenant_id), ("https://shop.test/hat?a=1", "Hat", "org-1"))
        self.assertEqual((made.utm_source, made.utm_medium, made.clicks), ("instagram", "social", 0))
        self.assertEqual(sorted(tag.name for tag in made.tags), ["reel", "summer"])
        for name in [{"link_id": made.id}, {"external_id": "ext_post-7"}, {"domain": "dub.sh", "key": made.key}]:
            self.assertEqual(links.get(request=name).id, made.id, name)
        changed = links.update(link_id="ext_post-7", request_body={"title": "Cap", "archived": True})
        self.assertEqual((changed.id, changed.title, changed.archived), (made.id, "Cap", True))
        self.assertEqual(links.count(request={"show_archived": True}), 1)
        self.assertEqual(links.delete(link_id=made.id).id, made.id)
        with self.assertRaises(errors.NotFound):
            links.get(request={"link_id": made.id})

    def test_many_links_are_made_changed_found_and_deleted_at_once(self):
        links = self.dub.links
        asked = [{"url": f"https://shop.test/{n}", "external_id": f"p-{n}"} for n in range(3)]
        made = links.create_many(request=[*asked, {"url": "https://shop.test/3", "external_id": "p-0"}])
        self.assertEqual([link.url for link in made[:3]], [link["url"] for link in asked])
        self.assertEqual(made[3].code, "conflict")
        ids = [link.id for link in made[:3]]
        pages, page = [], links.list(request={"page_size": 2})
        while page is not None:
            pages.append([link.id for link in page.result])
            page = page.next()
        self.assertEqual(pages, [[ids[2], ids[1]], [ids[0]]])
        changed = links.update_many(request={"link_ids": ids[:2], "data": {"tag_names": ["kept"]}})
        self.assertEqual([link.tags[0].name for link in changed], ["kept", "kept"])
        self.assertEqual(links.count(request={"tag_names": ["kept"]}), 2)
        self.assertEqual(links.upsert(request={"url": "https://shop.test/2", "title": "Again"}).id, ids[2])
        self.assertEqual(links.delete_many(request={"link_ids": ids}).deleted_count, 3)

    def test_clicks_leads_and_sales_come_back(self):
        made = self.dub.links.create(request={"url": "https://shop.test/hat", "utm_source": "instagram"})
        _, token = click(made.short_link)
        lead = self.dub.track.lead(
            request={
                "click_id": token,
                "event_name": "Sign up",
                "customer_external_id": "customer-7",
                "customer_email": "ada@example.com",
            }
        )
        self.assertEqual((lead.link.id, lead.customer.external_id), (made.id, "customer-7"))
        # A later sale needs no click: the customer is known.
        sale = self.dub.track.sale(
            request={"customer_external_id": "customer-7", "amount": 1999, "currency": "usd", "invoice_id": "in_1"}
        )
        self.assertEqual((sale.sale.amount, sale.sale.currency, sale.sale.invoice_id), (1999, "usd", "in_1"))
        read = lambda: self.dub.links.get(request={"link_id": made.id})
        counted = settled(read, lambda link: (link.clicks, link.leads, link.sales) == (1, 1, 1))
        self.assertEqual(counted.sale_amount, 1999)
        figures = self.dub.analytics.retrieve(request={"event": "composite", "link_id": made.id, "interval": "7d"})
        self.assertEqual((figures.clicks, figures.leads, figures.sales, figures.sale_amount), (1, 1, 1, 1999))
        row = self.workspace.report("link", "19.99")[made.id]
        self.assertEqual((row["clicks"], row["revenue"]), (1, "19.99"))

    def test_mistakes_come_as_the_errors_that_the_client_knows(self):
        links = self.dub.links
        taken = links.create(request={"url": "https://shop.test"})
        with self.assertRaises(errors.Conflict) as conflict:
            links.create(request={"url": "https://x.test", "key": taken.key})
        self.assertEqual(conflict.exception.data.error.code, "conflict")
        with self.assertRaises(errors.UnprocessableEntity):
            links.create(request={"url": "not a url"})
        with self.assertRaises(errors.Unauthorized):
            Dub(token=f"{self.workspace.key}x", server_url=BASE).links.count(request={})


if __name__ == "__main__":
    unittest.main()
