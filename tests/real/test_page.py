"""The page in a real browser: in by the printed address, a cluster appears by itself, and is stopped."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from ..server.core import ADA
from ..server.http.site import Site, listening, running_site, token

pytestmark = pytest.mark.real


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with running_site(tmp_path, authenticator=token()) as site:
        yield site


async def test_a_cluster_appears_live_and_is_stopped_from_the_page(site: Site, page: Page) -> None:
    async with listening(site) as address:
        await page.goto(f"{address}/?token=a-token")
        await expect(page).to_have_url(f"{address}/")
        await expect(page.get_by_text("No cluster is running")).to_be_visible()
        await expect(page.get_by_text(address)).to_be_visible()

        record = await site.core.running()
        row = page.locator(f"#cluster-{record.name}")
        await expect(row.get_by_text("running", exact=True)).to_be_visible()
        await site.core.control.scale(ADA, record.name, 2)
        await expect(row.get_by_text("2 / 2")).to_be_visible()
        await expect(row.get_by_role("link", name="Dashboard")).to_have_attribute(
            "href", f"/clusters/{record.name}/status"
        )

        stop = row.get_by_role("button", name=f"Stop {record.name}")
        await stop.click()
        await page.get_by_role("button", name="Keep it").click()
        await expect(row.get_by_text("running", exact=True)).to_be_visible()
        await stop.click()
        await page.get_by_role("button", name="Stop it").click()
        await expect(row.get_by_text("stopped by ada")).to_be_visible()
        await expect(page.get_by_role("heading", name="No cluster is running")).to_be_visible()
        await page.get_by_role("button", name="Log out").click()
        await expect(page).to_have_url(re.compile("/login$"))
        await page.goto("about:blank")  # the event stream ends before its server does
