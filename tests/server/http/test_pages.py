"""The pages: coming in, the list of clusters, going out. They work for reading without a script."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from dask_sluice.server.backends.fake import PRESETS
from dask_sluice.server.http.pages.words import age
from dask_sluice.server.settings import Settings
from dask_sluice.wire.states import ClusterState

from ..core import ADA
from .site import BROWSER, Site, running_site, token


def browser(site: Site, user: str | None = None, **headers: str) -> httpx.AsyncClient:
    cookies = {site.cookie: site.services.sessions.create(user, site.services.clock.now())} if user else None
    return site.client(headers=BROWSER | headers, cookies=cookies)


async def test_the_printed_address_lets_in_and_takes_the_token_out_of_sight(tmp_path: Path) -> None:
    async with running_site(tmp_path, authenticator=token()) as site, browser(site) as client:
        first = await client.get("/?token=a-token&show=x")
        assert (first.status_code, first.headers["location"]) == (303, "/?show=x")
        assert "HttpOnly" in first.headers["set-cookie"]
        page = await client.get("/")
        assert page.status_code == 200
        assert ">ada <small>administrator<" in page.text
        assert "a-token" not in page.text


async def test_a_wrong_token_leads_to_the_form(tmp_path: Path) -> None:
    async with running_site(tmp_path, authenticator=token()) as site, browser(site) as client:
        answer = await client.get("/?token=old")
        assert answer.status_code == 401
        assert "The token in this address is not right" in answer.text
        assert 'name="secret"' in answer.text
        assert "set-cookie" not in answer.headers
        entered = await client.post("/login", data={"secret": "a-token", "next": "/"})
        assert (entered.status_code, entered.headers["location"]) == (303, "/")


async def test_a_stranger_is_sent_to_the_form_and_comes_in_by_name_and_password(site: Site) -> None:
    async with browser(site) as client:
        sent = await client.get("/")
        assert (sent.status_code, sent.headers["location"]) == (302, "/login")
        form = await client.get("/login?next=/clusters/x/status")
        assert 'name="next" value="/clusters/x/status"' in form.text
        wrong = await client.post("/login", data={"user": "ada", "secret": "x", "next": "/clusters/x/status"})
        assert wrong.status_code == 401
        assert "do not fit together" in wrong.text
        assert 'value="ada"' in wrong.text
        right = {"user": "ada", "secret": "lovelace", "next": "/clusters/x/status"}
        entered = await client.post("/login", data=right)
        assert (entered.status_code, entered.headers["location"]) == (303, "/clusters/x/status")
        assert (await client.get("/login")).status_code == 303, "who is in needs no form"
        gone = await client.post("/logout")
        assert (gone.status_code, gone.headers["location"]) == (303, "/login")
        assert (await client.get("/")).status_code == 302


@pytest.mark.parametrize(
    "goal",
    ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "", "/x\nSet-Cookie: a=b"],
)
async def test_a_login_never_leads_to_another_site(site: Site, goal: str) -> None:
    async with browser(site) as client:
        entered = await client.post("/login", data={"user": "ada", "secret": "lovelace", "next": goal})
    assert (entered.status_code, entered.headers["location"]) == (303, "/")


async def test_guessing_at_the_form_is_slowed_down(site: Site) -> None:
    async with browser(site) as client:
        for _ in range(10):
            await client.post("/login", data={"user": "x y", "secret": "x"})
        answer = await client.post("/login", data={"user": "ada", "secret": "lovelace"})
    assert answer.status_code == 429
    assert "10 attempts to log in from 192.0.2.7 failed" in answer.text


async def test_a_form_of_any_bytes_is_answered(site: Site) -> None:
    async with browser(site) as client:
        for body in (b"", b"\xff\xfe=\x00", b"user", b"user=a&user=b&secret=", b"%ZZ=1"):
            assert (await client.post("/login", content=body)).status_code == 401


async def test_with_no_cluster_the_page_shows_the_lines_to_paste(site: Site) -> None:
    async with browser(site, "ada") as client:
        page = (await client.get("/")).text
        assert 'Gateway("http://sluice.test", auth=BasicAuth("ada", ' in page.replace("&#34;", '"')
        behind = await client.get("/", headers={"X-Forwarded-Proto": "https", "X-Forwarded-Host": "dask.example.org"})
        assert "https://dask.example.org" in behind.text


async def test_the_list_shows_state_reason_workers_dashboard_and_stop(site: Site) -> None:
    record = await site.core.running(workers=2)
    async with browser(site, "ada") as client:
        page = (await client.get("/")).text
        assert f'id="cluster-{record.name}"' in page
        assert "2 of 2 workers running" in page
        assert f'href="/clusters/{record.name}/status"' in page
        assert f'data-stop="{record.name}"' in page
        await site.core.control.stop(ADA, record.name)
        await site.core.until(record.name, ClusterState.STOPPED)
        ended = (await client.get("/")).text
        assert "stopped by ada" in ended
        assert "data-stop=" not in ended
    async with browser(site, "grace") as client:
        assert record.name not in (await client.get("/")).text


async def test_what_failed_is_shown_with_its_reason_and_what_to_do(tmp_path: Path) -> None:
    async with running_site(tmp_path, dials=PRESETS["fails_during_start"]) as site, browser(site, "ada") as client:
        await site.core.until((await site.core.new()).name, ClusterState.FAILED)
        page = (await client.get("/")).text
    assert "ModuleNotFoundError: No module named &#39;x&#39;" in page, "as text, whatever a process wrote"
    assert "a missing package is the usual cause" in page


async def test_everything_works_below_a_prefix(tmp_path: Path) -> None:
    settings = Settings.model_validate({"listen": {"prefix": "/dask"}})
    async with running_site(tmp_path, settings=settings) as site, browser(site) as client:
        sent = await client.get("/")
        assert sent.headers["location"] == "/dask/login"
        form = (await client.get("/login")).text
        assert 'action="/dask/login"' in form
        assert 'href="/dask/static/page.css"' in form
        entered = await client.post("/login", data={"user": "ada", "secret": "lovelace"})
        assert entered.headers["location"] == "/dask/"
        assert "Path=/dask;" in entered.headers["set-cookie"]


async def test_pages_load_nothing_from_elsewhere(site: Site) -> None:
    await site.core.running()
    async with browser(site, "ada") as client:
        for path in ("/", "/nope", "/static/page.css", "/static/clusters.js"):
            text = (await client.get(path)).text
            assert "http://" not in text.replace("http://sluice.test", ""), path
            assert "https://" not in text
            assert " style=" not in text, "the security policy would not let it through"
            assert "onclick" not in text


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-3, "0 s"), (0, "0 s"), (59.9, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h"), (90000, "1 d")],
)
def test_an_age_is_told_in_the_greatest_unit_that_fits(seconds: float, shown: str) -> None:
    assert age(seconds) == shown
