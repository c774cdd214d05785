"""Debian's Chromium, driven; every page that is opened must be without errors and without requests to anybody else."""

import contextlib
import os
import shutil
from urllib.parse import urlparse

from playwright.sync_api import expect, sync_playwright

MAC = ["/Applications/Chromium.app/Contents/MacOS/Chromium", "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"]
CHROMIUM = next((path for path in map(shutil.which, ["chromium", "chromium-browser", "google-chrome", *MAC]) if path), None)


@contextlib.contextmanager
def chromium():
    assert CHROMIUM, "Chromium is needed: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


class Watched:
    """A browser's page that remembers what went wrong. `allowed` are statuses that are expected."""

    def __init__(self, browser, home: str, **options):
        self.home, self.faults, self.allowed, self.bytes = home, [], set(), 0
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        self.page = self.context.new_page()
        self.page.on("console", lambda said: self.faults.append(f"console: {said.text}") if said.type in ("error", "warning") and not self.expected(said.text) else None)
        self.page.on("pageerror", lambda error: self.faults.append(f"script: {error}"))
        self.page.on("request", self.asked)
        self.page.on("response", self.answered)

    def expected(self, text):
        return any(f"status of {status}" in text for status in self.allowed)

    def asked(self, request):
        if request.url.startswith(("data:", "about:", "blob:")):
            return
        if urlparse(request.url).netloc != urlparse(self.home).netloc:
            self.faults.append(f"a request to somebody else: {request.url}")

    def answered(self, response):
        if response.status >= 400 and response.status not in self.allowed:
            self.faults.append(f"{response.request.method} {response.url} answers {response.status}")

    def open(self, path):
        self.page.goto(self.home + path)
        # Streams of events never end, so there is no idle network to wait for.
        self.page.wait_for_load_state("load")
        # Parts that are asked for when the page is there say so until they come; the policy forbids waiting by script.
        expect(self.page.locator('[hx-trigger^="load"] > p.quiet:only-child')).to_have_count(0, timeout=60_000)
        return self.page

    def check(self):
        assert not self.faults, self.faults

    def accessible(self):
        """axe-core's serious and critical violations."""
        self.page.evaluate(open(os.environ["AXE"]).read())
        found = self.page.evaluate("axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']})")
        bad = [v for v in found["violations"] if v["impact"] in ("serious", "critical")]
        return [(v["id"], v["help"], [node["html"][:200] for node in v["nodes"][:3]]) for v in bad]

    def close(self):
        self.context.close()
