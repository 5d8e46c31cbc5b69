"""A session cookie says who and until when; nobody but the server can make one, or read what it holds."""

from __future__ import annotations

import base64

from hypothesis import given
from hypothesis import strategies as st

from dask_sluice.server.identity.sessions import Seal, Session, Sessions

NOW = 1_000_000.0


def sessions(key: str = "key", **fingerprints: str) -> Sessions:
    return Sessions(key, (fingerprints or {"ada": "1", "grace": "1"}).get, session_s=3600)


def test_a_cookie_says_whose_it_is_until_it_expires() -> None:
    ours = sessions()
    cookie = ours.create("ada", NOW)
    assert ours.read(cookie, NOW + 3599) == Session("ada")
    assert ours.read(cookie, NOW + 3600) is None


def test_a_cookie_outlives_a_restart_but_not_another_key() -> None:
    cookie = sessions().create("ada", NOW)
    assert sessions().read(cookie, NOW) == Session("ada")
    assert sessions(key="another").read(cookie, NOW) is None


def test_a_changed_password_or_a_removed_user_ends_the_session() -> None:
    cookie = sessions(ada="old hash").create("ada", NOW)
    assert sessions(ada="old hash").read(cookie, NOW) == Session("ada")
    assert sessions(ada="new hash").read(cookie, NOW) is None
    assert sessions(grace="1").read(cookie, NOW) is None


def test_no_part_of_a_cookie_can_be_changed() -> None:
    ours = sessions()
    cookie = ours.create("ada", NOW)
    forged = [cookie[:at] + ("A" if cookie[at] != "A" else "B") + cookie[at + 1 :] for at in range(len(cookie) - 4)]
    forged += [
        cookie[:-8],
        "",
        sessions(key="other").create("ada", NOW),
        ours.logins.close([int(NOW) + 9, "ada", "1", ""]),
    ]
    assert [ours.read(cookie, NOW) for cookie in forged] == [None] * len(forged)


def test_what_a_user_showed_comes_back_and_cannot_be_read_from_the_cookie() -> None:
    cookie = sessions().create("ada", NOW, "a token of the hub")
    assert sessions().read(cookie, NOW) == Session("ada", "a token of the hub")
    assert b"token" not in base64.urlsafe_b64decode(cookie)


@given(st.text())
def test_a_seal_opens_nothing_that_it_did_not_close(text: str) -> None:
    assert Seal("key", "test").open(text) is None
    assert Seal("key", "other").open(Seal("key", "test").close([text])) is None
    assert Seal("key", "test").open(Seal("key", "test").close([text])) == [text]


@given(st.text())
def test_no_cookie_makes_the_check_fall_over(cookie: str) -> None:
    assert sessions().read(cookie, NOW) is None


def test_two_servers_on_one_machine_use_cookies_of_different_names() -> None:
    assert sessions(key="one").cookie_name != sessions(key="two").cookie_name
