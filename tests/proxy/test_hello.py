"""The first bytes of a connection are understood however they are cut, and nothing upsets their reader."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_sluice.proxy.hello import MAX_BYTES, Broken, Hello, NeedMore, NotTLS, alert, cluster_of, read_hello

from .rig import client_hello, records

NAMES = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", fullmatch=True)


@given(st.binary(max_size=400))
def test_any_bytes_get_a_verdict(data: bytes) -> None:
    verdict = read_hello(data)
    if isinstance(verdict, NeedMore):
        assert len(data) < verdict.total <= MAX_BYTES


@given(st.binary(max_size=400))
def test_any_bytes_in_a_handshake_record_get_a_verdict(data: bytes) -> None:
    body = b"\x01" + len(data).to_bytes(3, "big") + data
    assert isinstance(read_hello(records(body)), Hello | Broken)


@given(NAMES, st.integers(1, 700), st.integers(0, 3000))
def test_the_name_is_found_however_the_hello_is_cut(name: str, record_size: int, padding: int) -> None:
    sent = records(client_hello(f"daskgateway-{name}", padding=padding)[5:], max(record_size, padding // 500))
    verdict = read_hello(sent + b"what follows")
    assert verdict == Hello(f"daskgateway-{name}")


@given(st.data())
def test_asking_for_more_always_leads_to_the_same_name(data: st.DataObject) -> None:
    sent = records(client_hello("daskgateway-c1")[5:], data.draw(st.integers(20, 600)))
    seen = data.draw(st.integers(1, 20))
    steps = 0
    while isinstance(verdict := read_hello(sent[:seen]), NeedMore):
        assert seen < verdict.total <= len(sent)
        seen, steps = verdict.total, steps + 1
    assert verdict == Hello("daskgateway-c1")
    assert steps < 3 * len(sent) / 20


@given(st.binary(min_size=1, max_size=300), st.data())
def test_a_damaged_hello_never_raises(noise: bytes, data: st.DataObject) -> None:
    sent = bytearray(client_hello("daskgateway-c1"))
    position = data.draw(st.integers(0, len(sent) - 1))
    sent[position : position + len(noise)] = noise
    read_hello(bytes(sent))


@pytest.mark.parametrize("first", [b"GET / HTTP/1.1", b"\x00", b"\x17\x03\x03", b"\xff" * 50])
def test_what_does_not_begin_like_tls_is_not_tls(first: bytes) -> None:
    assert read_hello(first) == NotTLS()


def test_a_hello_without_a_name_is_complete() -> None:
    assert read_hello(client_hello(None)) == Hello(None)


def test_a_hello_of_16_kb_is_read() -> None:
    assert read_hello(client_hello("daskgateway-c1", padding=16_000)) == Hello("daskgateway-c1")


def test_a_hello_without_end_is_given_up() -> None:
    header = b"\x16\x03\x01\x40\x00"
    assert isinstance(read_hello(header + b"\x01\xff\xff\xff" + bytes(100)), Broken)
    assert isinstance(read_hello((b"\x16\x03\x01\x00\x01" + b"\x01") * 20_000), Broken)


@pytest.mark.parametrize(
    ("server_name", "cluster"),
    [("daskgateway-c1", "c1"), ("daskgateway-", None), ("example.org", None), (None, None), ("xdaskgateway-c", None)],
)
def test_only_names_of_clusters_lead_to_clusters(server_name: str | None, cluster: str | None) -> None:
    assert cluster_of(server_name) == cluster


def test_an_alert_is_fatal_and_plain() -> None:
    assert alert(112) == b"\x15\x03\x03\x00\x02\x02\x70"
