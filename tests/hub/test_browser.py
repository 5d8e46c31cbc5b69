"""In a browser people log in on the hub's page, whatever its base URL, and stay in until the hub or they say so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Page, expect

from ..live import until
from .conftest import CONFIG, Pair, running_pair
from .hub import wait_a_little

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def based(hub_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A hub under the base URL `/jupyter`, and a server beneath it."""
    with running_pair(hub_python, tmp_path_factory.mktemp("based"), CONFIG, base_url="/jupyter") as pair:
        yield pair


async def log_in(page: Page, user: str) -> None:
    await page.get_by_label("Username").fill(user)
    await page.get_by_label("Password").fill("anything: the hub's authenticator is a dummy")
    await page.locator("#login_submit").click()


async def test_the_page_sends_people_to_the_hub_and_has_them_back_as_who_they_are(
    based: Pair, browser_page: Page
) -> None:
    page = browser_page
    await page.goto(f"{based.hub.gateway}/")
    await expect(page).to_have_url(re.compile(r"/jupyter/hub/login\?"))
    await log_in(page, "root")
    await expect(page).to_have_url(f"{based.hub.gateway}/")
    await expect(page.get_by_role("heading", name="My clusters")).to_be_visible()
    await expect(page.get_by_text("root administrator")).to_be_visible()
    assert all("token" not in cookie["value"] for cookie in await page.context.cookies())

    await page.get_by_role("button", name="Log out").click()
    await expect(page.get_by_role("link", name="Log in with JupyterHub")).to_be_visible()
    await page.goto(f"{based.hub.gateway}/clusters/nothing/status")
    await expect(page).to_have_url(re.compile(r"/clusters/nothing/status$"), timeout=20_000)
    await expect(page.get_by_text("No such cluster")).to_be_visible()

    await page.goto(f"{based.hub.address}/hub/logout")
    await page.wait_for_load_state()
    wait_a_little(0.6)
    await page.goto(f"{based.hub.gateway}/")
    await expect(page).to_have_url(re.compile(r"/jupyter/hub/login\?"))


async def test_a_dashboard_opens_after_the_login_for_its_owner(based: Pair, browser_page: Page) -> None:
    token = based.hub.token("ada")
    name = based.ask(token, "/api/v2/clusters", "POST", json={}).json()["name"]
    until(lambda: based.ask(token, f"/api/v2/clusters/{name}").json()["state"] == "running", f"{name} runs")
    page = browser_page
    await page.goto(f"{based.hub.gateway}/clusters/{name}/status")
    await log_in(page, "ada")
    await expect(page).to_have_url(re.compile(rf"/jupyter/services/dask-gateway/clusters/{name}/~[^/]+/status$"))
    await expect(page).to_have_title(re.compile("Dask"))
    await expect(page.get_by_text("Processing", exact=True).first).to_be_visible(timeout=30_000)


def test_an_answer_for_another_browser_or_a_made_up_one_lets_nobody_in(based: Pair) -> None:
    with httpx.Client(base_url=based.hub.gateway, headers={"Accept": "text/html"}) as browser:
        sent = browser.get("/login?next=/jupyter/services/dask-gateway/")
        assert sent.status_code == 303
        location = httpx.URL(sent.headers["location"])
        assert location.path == "/jupyter/hub/api/oauth2/authorize"
        assert location.params["redirect_uri"] == "/jupyter/services/dask-gateway/oauth_callback"
        state = location.params["state"]
        for_another = httpx.get(f"{based.hub.gateway}/oauth_callback?code=x&state={state}", headers=browser.headers)
        assert for_another.status_code == 401
        assert "begun elsewhere" in for_another.text
        made_up = browser.get(f"/oauth_callback?code=made-up&state={state}")
        assert made_up.status_code == 401
        assert "does not accept this login" in made_up.text
        refused = browser.get(f"/oauth_callback?error=access_denied&error_description=no&state={state}")
        assert (refused.status_code, "did not let you in: no" in refused.text) == (401, True)
