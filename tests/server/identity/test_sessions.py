"""A session cookie says who and until when, and nobody but the server can make one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dask_sluice.server.identity.sessions import Sessions

NOW = 1_000_000.0


def sessions(key: str = "key", **fingerprints: str) -> Sessions:
    return Sessions(key, (fingerprints or {"ada": "1", "grace": "1"}).get, session_s=3600)


def test_a_cookie_says_whose_it_is_until_it_expires() -> None:
    ours = sessions()
    cookie = ours.create("ada", NOW)
    assert ours.user(cookie, NOW + 3599) == "ada"
    assert ours.user(cookie, NOW + 3600) is None


def test_a_cookie_outlives_a_restart_but_not_another_key() -> None:
    cookie = sessions().create("ada", NOW)
    assert sessions().user(cookie, NOW) == "ada"
    assert sessions(key="another").user(cookie, NOW) is None


def test_a_changed_password_or_a_removed_user_ends_the_session() -> None:
    cookie = sessions(ada="old hash").create("ada", NOW)
    assert sessions(ada="old hash").user(cookie, NOW) == "ada"
    assert sessions(ada="new hash").user(cookie, NOW) is None
    assert sessions(grace="1").user(cookie, NOW) is None


def test_no_part_of_a_cookie_can_be_changed() -> None:
    ours = sessions()
    expiry, name, signature = ours.create("ada", NOW).split(".")
    other = ours.create("grace", NOW).split(".")[1]
    forged = [
        f"{int(expiry) + 1}.{name}.{signature}",
        f"{expiry}.{other}.{signature}",
        f"{expiry}.{name}.{signature[:-1]}",
        f"{expiry}.{name}.",
        f"{expiry}.{name}",
        f"{expiry}.{name}.{signature}.x",
        f"x.{name}.{signature}",
    ]
    assert [ours.user(cookie, NOW) for cookie in forged] == [None] * len(forged)


@given(st.text())
def test_no_cookie_makes_the_check_fall_over(cookie: str) -> None:
    assert sessions().user(cookie, NOW) is None


def test_two_servers_on_one_machine_use_cookies_of_different_names() -> None:
    assert sessions(key="one").cookie_name != sessions(key="two").cookie_name
