"""`GET /metrics` as Prometheus' own parsers for Python read it, in both formats. The numbers themselves are those of
server/metrics.rs.
"""

import unittest
import urllib.request

from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text
from test_clients import Site

TOKEN = "an-admin-token-of-this-test"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


class Metrics(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.site = Site(more=f'[server]\nadmin_token = "{TOKEN}"')
        cls.site.library().trigger("news", "saved", {})

    @classmethod
    def tearDownClass(cls):
        cls.site.end()

    def scrape(self, accept, read):
        headers = {"Authorization": f"Bearer {TOKEN}", "Accept": accept}
        request = urllib.request.Request(f"http://127.0.0.1:{self.site.port}/metrics", headers=headers)
        with urllib.request.urlopen(request) as answer:
            self.assertTrue(answer.headers["Content-Type"].startswith(accept), answer.headers)
            return list(read(answer.read().decode()))

    def test_both_formats_have_the_same_families(self):
        text = self.scrape("text/plain; version=0.0.4", read_text)
        open_metrics = self.scrape(OPENMETRICS, read_openmetrics)
        # The text format has no type for information, and no rule for a counter's name.
        names = lambda families: {family.name.removesuffix("_info") for family in families}
        self.assertEqual(names(text), names(open_metrics))
        self.assertGreater(len(text), 40)

    def test_openmetrics_is_strict_about_types(self):
        families = {family.name: family for family in self.scrape(OPENMETRICS, read_openmetrics)}
        self.assertEqual(families["jsocketd_build"].type, "info")
        self.assertEqual(families["jsocketd_requests"].type, "counter")
        self.assertEqual(families["jsocketd_requests"].samples[0].name, "jsocketd_requests_total")
        ticks = families["jsocketd_tick_seconds"]
        self.assertEqual(ticks.type, "histogram")
        counts = [sample.value for sample in ticks.samples if sample.name.endswith("_bucket")]
        self.assertEqual(counts, sorted(counts))
        for family in families.values():
            self.assertTrue(family.documentation, family.name)
            self.assertTrue(family.name.startswith("jsocketd_"), family.name)


if __name__ == "__main__":
    unittest.main()
