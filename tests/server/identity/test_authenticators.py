"""Who a caller is: by the token, or by name and password. Guessing is slowed down, and tells nothing."""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path

import pytest

from dask_sluice.server.clock import ManualClock
from dask_sluice.server.identity.basic import BasicAuthenticator
from dask_sluice.server.identity.passwords import hash_password
from dask_sluice.server.identity.protocol import Shown
from dask_sluice.server.identity.registry import make_authenticator
from dask_sluice.server.identity.shown import from_header
from dask_sluice.server.identity.throttle import FAILURES, WINDOW_S
from dask_sluice.server.identity.token import TOKEN_FILE, TokenAuthenticator
from dask_sluice.server.model import Caller
from dask_sluice.server.settings import Settings
from dask_sluice.server.settings_schema import Authenticator as AuthenticatorSettings
from dask_sluice.server.startup import CannotStart
from dask_sluice.wire.errors import LimitExceeded

ADA = hash_password("lovelace")


def basic_header(user: str, secret: str, encoding: str = "utf-8") -> str:
    return "Basic " + base64.b64encode(f"{user}:{secret}".encode(encoding)).decode()


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic",
        "Basic !!!",
        "Basic " + base64.b64encode(b"no colon").decode(),
        "\xff",
        "Basic é",
    ],
)
def test_a_header_that_makes_no_sense_shows_nothing(header: str) -> None:
    assert from_header(header) is None


def test_names_and_passwords_are_read_in_both_usual_encodings() -> None:
    for encoding in ("utf-8", "latin-1"):
        shown = from_header(basic_header("ada", "pässwörd:x", encoding), "192.0.2.7")
        assert shown == Shown("basic", "pässwörd:x", "ada", "192.0.2.7")


@pytest.mark.parametrize("scheme", ["Bearer", "token", "jupyterhub", "TOKEN"])
async def test_the_token_is_taken_in_every_scheme_that_clients_use(tmp_path: Path, scheme: str) -> None:
    door = TokenAuthenticator(account="ada")
    await door.start(tmp_path)
    shown = from_header(f"{scheme} {door.token}")
    assert shown is not None
    assert await door.authenticate(shown) == Caller("ada")


async def test_with_basic_the_token_is_the_password_and_the_name_does_not_matter(tmp_path: Path) -> None:
    door = TokenAuthenticator(account="ada")
    await door.start(tmp_path)
    for name in ("ada", "somebody-else", ""):
        assert await door.authenticate(Shown("basic", door.token, name)) == Caller("ada")
    for wrong in ("", "x", door.token[:-1], door.token + "x", "é"):
        assert await door.authenticate(Shown("basic", wrong, "ada")) is None
    assert await door.authenticate(Shown("negotiate", door.token)) is None


async def test_the_token_outlives_a_restart_in_a_file_that_only_its_owner_can_read(tmp_path: Path) -> None:
    first, second = TokenAuthenticator(), TokenAuthenticator()
    await first.start(tmp_path)
    await second.start(tmp_path)
    assert first.token == second.token
    assert len(first.token) >= 40
    assert stat.S_IMODE((tmp_path / TOKEN_FILE).stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == [TOKEN_FILE]


async def test_a_token_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / TOKEN_FILE).write_text("secret")
    (tmp_path / TOKEN_FILE).chmod(0o644)
    with pytest.raises(PermissionError, match="chmod 600"):
        await TokenAuthenticator().start(tmp_path)


async def test_an_empty_token_file_gets_a_token_and_an_empty_token_opens_nothing(tmp_path: Path) -> None:
    (tmp_path / TOKEN_FILE).touch(mode=0o600)
    door = TokenAuthenticator()
    assert await door.authenticate(Shown("bearer", "")) is None
    await door.start(tmp_path)
    assert door.token


async def users(clock: ManualClock | None = None) -> BasicAuthenticator:
    door = BasicAuthenticator(users={"ada": ADA}, clock=clock)
    await door.start(Path("unused"))
    return door


async def test_users_come_in_with_their_own_password_only() -> None:
    door = await users()
    assert await door.authenticate(Shown("basic", "lovelace", "ada")) == Caller("ada")
    for user, secret in (("ada", "hopper"), ("ada", ""), ("grace", "lovelace"), ("", "lovelace"), ("ADA", "lovelace")):
        assert await door.authenticate(Shown("basic", secret, user)) is None, (user, secret)
    assert await door.authenticate(Shown("bearer", "lovelace", "ada")) is None


async def test_a_proven_password_is_not_hashed_again_and_a_wrong_one_is_still_refused() -> None:
    door = await users()
    assert await door.authenticate(Shown("basic", "lovelace", "ada"))
    door._users["ada"] = "broken"  # a hash would be needed now
    assert await door.authenticate(Shown("basic", "lovelace", "ada"))
    assert await door.authenticate(Shown("basic", "hopper", "ada")) is None


async def test_one_shared_password_fits_every_proper_name() -> None:
    door = BasicAuthenticator(password="open sesame")
    await door.start(Path("unused"))
    assert await door.authenticate(Shown("basic", "open sesame", "anybody")) == Caller("anybody")
    for name in ("", "-rf", "../ada", "ada\n", "a" * 200, "<b>"):
        assert await door.authenticate(Shown("basic", "open sesame", name)) is None, name


async def test_too_many_failures_from_one_address_close_the_door_for_that_address() -> None:
    clock = ManualClock()
    door = BasicAuthenticator(password="open sesame", clock=clock)
    await door.start(Path("unused"))
    for _ in range(FAILURES):
        assert await door.authenticate(Shown("basic", "guess", "ada", "192.0.2.7")) is None
    right = Shown("basic", "open sesame", "ada", "192.0.2.7")
    with pytest.raises(LimitExceeded, match=r"10 attempts to log in from 192\.0\.2\.7") as caught:
        await door.authenticate(right)
    assert caught.value.retry_after_s == pytest.approx(WINDOW_S)
    assert await door.authenticate(Shown("basic", "open sesame", "ada", "192.0.2.8")), "others are not concerned"
    await clock.advance(WINDOW_S + 1)
    assert await door.authenticate(right)


def test_the_settings_choose_the_authenticator() -> None:
    assert isinstance(make_authenticator(Settings().authenticator), TokenAuthenticator)
    made = make_authenticator(of({"kind": "basic", "basic": {"users": {"ada": ADA}}}))
    assert isinstance(made, BasicAuthenticator)
    assert made.fingerprint("ada") is not None
    assert made.fingerprint("grace") is None


def test_an_authenticator_of_ones_own_is_named_by_import_path() -> None:
    made = make_authenticator(of({"kind": f"{__name__}:OwnAuthenticator", "settings": {"greeting": "hello"}}))
    assert made.greeting == "hello"  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["tokn", "dask_sluice.nowhere:Thing", "os:nothing_like_it"])
def test_an_authenticator_that_does_not_exist_is_named(kind: str) -> None:
    with pytest.raises(CannotStart, match=kind) as caught:
        make_authenticator(of({"kind": kind}))
    if kind == "tokn":
        assert "Did you mean 'token'? Known: basic, jupyterhub, token." in str(caught.value)


def of(values: dict[str, object]) -> AuthenticatorSettings:
    return Settings.model_validate({"authenticator": values}).authenticator


class OwnAuthenticator:
    def __init__(self, greeting: str) -> None:
        self.greeting = greeting
