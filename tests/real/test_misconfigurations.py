"""Each misconfiguration of the catalogue, made for real, is told in its own words: `dask-sluice doctor` names the
broken hop, says what is wrong and what to do. Nobody is left with a library's words, a traceback or a bare "Internal
Server Error".
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator

import pytest

from dask_sluice.cli.doctor import STEPS

from ..live import LiveServer
from .misconfigurations import CATALOGUE
from .misconfigured.catalogue import Misconfiguration
from .misconfigured.standins import COMMAND, Site

pytestmark = pytest.mark.real
LIBRARIES_WORDS = re.compile(
    r"Traceback|Internal Server Error|WRONG_VERSION_NUMBER|CERTIFICATE_VERIFY_FAILED|\[SSL|_ssl\.c|\[Errno -?\d+\]"
)


@pytest.fixture(scope="module")
def site(live_server: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with contextlib.ExitStack() as stack:
        yield Site(live_server, tmp_path_factory.mktemp("site"), stack)


def pattern(template: str) -> str:
    """What a template of the catalogue matches: fields are any text."""
    return re.sub(r"\\\{[^}]*\\\}", ".+", re.escape(template)).replace(r"\ ", r"\s+")


@pytest.mark.parametrize("wrong", CATALOGUE, ids=lambda wrong: wrong.make.__name__)
def test_it_is_told_with_its_hop_and_what_to_do(site: Site, wrong: Misconfiguration) -> None:
    seen = wrong.make(site)
    assert seen.step == wrong.step
    told = f"{seen.sentence}\n{seen.hint}".strip()
    assert re.fullmatch(rf"{pattern(wrong.says)}[.:;]?\s+{pattern(wrong.do)}", told, re.DOTALL), told
    ours = [line for line in seen.printed.splitlines() if not line.startswith("  ")]  # and not out of a log
    assert [line for line in ours if LIBRARIES_WORDS.search(line)] == []


def test_the_catalogue_has_no_sentence_twice_and_every_step_but_those_of_dask_itself() -> None:
    told = [(wrong.step, wrong.says) for wrong in CATALOGUE]
    assert len(set(told)) == len(told) >= 25
    of_doctor = {wrong.step for wrong in CATALOGUE} - {"serve"}
    assert STEPS.keys() - of_doctor == {"stop"}


def test_a_notebook_is_told_the_same_as_by_the_doctor(site: Site) -> None:
    address = site.http_only(site.live.address) + f"/?token={site.live.token}"
    program = f"from dask_sluice import GatewayCluster; GatewayCluster({address!r}, quiet=True)"
    environment = {**os.environ, "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "4s"}
    done = subprocess.run([COMMAND[0], "-c", program], capture_output=True, text=True, timeout=100, env=environment)
    assert re.search(r"does not reach it: neither directly: .*; nor in a WebSocket: .* 426", done.stderr), done


def test_an_address_for_dasks_traffic_where_nothing_reacts_is_got_round_and_said_also_with_tls(site: Site) -> None:
    there, leaf = site.black_hole(), site.authority.issue_cert("localhost")
    tls = {"tls_certificate": str(site.directory / "tls.pem"), "tls_key": str(site.directory / "tls.key")}
    leaf.cert_chain_pems[0].write_to_path(tls["tls_certificate"])
    leaf.private_key_pem.write_to_path(tls["tls_key"])
    server = site.server(backend="local", listen={"dask_address": there, **tls})
    command = [*COMMAND, "doctor", "--address", server.url.replace("127.0.0.1", "localhost")]
    environment = {**os.environ, **site.knows_authority}
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, env=environment)
    assert done.stdout.endswith("everything works\n"), done
    assert re.search(r"^tls +ok .* TLSv1\.3, certificate valid until ", done.stdout, re.MULTILINE)
    assert f"in a WebSocket, since not directly: {there} does not react within 2.5 s" in done.stdout
