"""A password is kept as a hash that tells nothing of it and that carries its own parameters."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dask_sluice.server.identity.passwords import hash_password, is_hash, verify


def test_the_right_password_fits_and_no_other() -> None:
    stored = hash_password("hunter2")
    assert verify("hunter2", stored)
    assert not any(verify(wrong, stored) for wrong in ("hunter3", "", "hunter2 ", stored))


def test_the_same_password_never_gives_the_same_text() -> None:
    assert hash_password("hunter2") != hash_password("hunter2")


def test_any_text_can_be_a_password() -> None:
    for password in ("", "pässwörd", "a" * 1000, "nul\0inside", "☃"):
        assert verify(password, hash_password(password))


def test_hashes_made_with_other_parameters_go_on_to_work() -> None:
    weak = "scrypt$4$8$1$AAAAAAAAAAAAAAAAAAAAAA==$"
    digest = hashlib.scrypt(b"old", salt=b"\0" * 16, n=16, r=8, p=1, dklen=32)
    assert verify("old", weak + base64.b64encode(digest).decode())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hunter2",
        "scrypt$15$8$1$short$short",
        "scrypt$99$8$1$AAAAAAAAAAAAAAAAAAAAAA==$" + "A" * 43 + "=",  # would take all the memory there is
        "scrypt$20$32$1$AAAAAAAAAAAAAAAAAAAAAA==$" + "A" * 43 + "=",
        "scrypt$0$0$0$AAAAAAAAAAAAAAAAAAAAAA==$" + "A" * 43 + "=",
    ],
)
def test_what_is_no_hash_fits_no_password(text: str) -> None:
    assert not is_hash(text)
    assert not verify("hunter2", text)


@given(st.text())
@example("scrypt$1$1$1$AAAAAAAAAAAAAAAAAAAAAAA$" + "A" * 44)
def test_no_text_makes_the_check_fall_over(text: str) -> None:
    assert not verify("hunter2", text)
