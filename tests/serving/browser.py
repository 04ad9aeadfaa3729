"""A headless Chromium, as Debian installs it, that reaches nothing but the server under test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="the page is tested with Playwright")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP, PHONE, NARROWEST = (1440, 1000), (390, 844), (320, 640)
TIMEOUT_MS = 30_000


class Tab:
    """One page in a window of its own.

    :ivar page: Playwright's page.
    :ivar refused: Requests to anything but the server; each was cut.
    :ivar faults: What the page's console complained of, and what its scripts raised.
    """

    def __init__(self, page, url: str) -> None:
        self.page, self.url = page, url
        self.refused: list[str] = []
        self.faults: list[str] = []
        page.context.route("**/*", self._cut)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", lambda message: message.type == "error" and self.faults.append(message.text))
        page.goto(f"{url}/")
        page.wait_for_selector("#facts:not(:empty)")

    def ask(self, question: str) -> None:
        self.page.fill("#question", question)
        self.page.keyboard.press("Enter")
        self.answered()

    def answered(self) -> None:
        """Wait for the answer to what was asked last."""
        self.page.wait_for_selector("#after li")
        self.page.wait_for_selector("#lists:not([aria-busy])")

    def rows(self, name: str) -> list[str]:
        """The titles of a list, in its order."""
        return [title.strip() for title in self.page.locator(f"#{name} h3").all_text_contents()]

    def _cut(self, route) -> None:
        if urlsplit(route.request.url).netloc == urlsplit(self.url).netloc:
            route.continue_()
        else:
            self.refused.append(route.request.url)
            route.abort()


@contextmanager
def chromium() -> Iterator:
    """Run a browser until the block ends."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium; apt-get install chromium")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@contextmanager
def tab(browser, url: str, *, size: tuple[int, int] = DESKTOP, locale: str = "fr-FR", scheme: str = "light"):
    """Open the page of a server in a fresh window."""
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height}, locale=locale, color_scheme=scheme, reduced_motion="reduce"
    )
    context.set_default_timeout(TIMEOUT_MS)
    try:
        yield Tab(context.new_page(), url)
    finally:
        context.close()
