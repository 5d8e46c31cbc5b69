"""A real browser for tests: Debian's Chromium. Fixtures, which the conftest.py of those that want them import."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright

from .conftest import not_here

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def chromium() -> Path:
    if not CHROMIUM.exists():
        not_here(f"no Chromium at {CHROMIUM} (Debian: apt-get install chromium)")
    return CHROMIUM


@pytest.fixture
async def browser_page(chromium: Path) -> AsyncIterator[Page]:
    """An empty page of a new browser."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield await browser.new_page(viewport={"width": 1280, "height": 900})
        await browser.close()


@pytest.fixture
async def page(browser_page: Page) -> AsyncIterator[Page]:
    """The same; whatever it complains about fails the test."""
    complaints: list[str] = []
    browser_page.on("pageerror", lambda error: complaints.append(str(error)))
    browser_page.on("console", lambda message: complaints.extend([message.text] if message.type == "error" else []))
    yield browser_page
    assert complaints == []
