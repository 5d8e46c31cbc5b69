"""HTTP goes on to the server: whole, streamed, with the proxy's word on who asked."""

from __future__ import annotations

import asyncio
import json
import socket
import time

import httpx
import pytest
import websockets

from .conftest import StartProxy
from .rig import Certificate, Proxy, Server


def _client(proxy: Proxy, **arguments: object) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=proxy.url, timeout=10, trust_env=False, **arguments)  # type: ignore[arg-type]


async def raw(proxy: Proxy, request: bytes) -> bytes:
    """All that comes back for these bytes."""
    reader, writer = await asyncio.open_connection(*proxy.address)
    writer.write(request)
    async with asyncio.timeout(10):
        received = await reader.read(-1)
    writer.close()
    return received


async def test_a_request_reaches_the_server_with_its_query_and_who_asked(proxy: Proxy) -> None:
    async with _client(proxy) as client:
        seen = (await client.get("/api/v2/clusters?state=a%2Fb", headers={"X-Request-ID": "mine-1"})).json()
    assert seen["target"] == "/api/v2/clusters?state=a%2Fb"
    assert seen["headers"]["x-forwarded-for"] == "127.0.0.1"
    assert seen["headers"]["x-forwarded-proto"] == "http"
    assert seen["headers"]["x-forwarded-host"] == f"127.0.0.1:{proxy.port}"
    assert seen["headers"]["host"] == f"127.0.0.1:{proxy.port}"
    assert seen["headers"]["x-request-id"] == "mine-1"


async def test_a_client_cannot_say_what_only_the_proxy_knows(proxy: Proxy) -> None:
    lies = {"X-Forwarded-For": "1.2.3.4", "X-Forwarded-User": "root", "X-Sluice-Proxy": "x", "Forwarded": "for=1.2.3.4"}
    async with _client(proxy) as client:
        seen = (await client.get("/", headers=lies)).json()["headers"]
    assert seen["x-forwarded-for"] == "127.0.0.1"
    assert not {"x-forwarded-user", "x-sluice-proxy", "forwarded"} & set(seen)


async def test_headers_of_one_connection_stay_on_it(proxy: Proxy) -> None:
    headers = {"Connection": "keep-alive, X-Mine", "X-Mine": "1", "Keep-Alive": "5", "TE": "trailers", "X-Stays": "1"}
    async with _client(proxy) as client:
        seen = (await client.get("/", headers=headers)).json()["headers"]
    assert "x-stays" in seen
    assert not {"x-mine", "keep-alive", "te"} & set(seen)


async def test_a_connection_serves_many_requests(server: Server, proxy: Proxy) -> None:
    request = b"GET /one HTTP/1.1\r\nHost: h\r\n\r\n"
    received = await raw(proxy, request * 3 + request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert received.count(b"HTTP/1.1 200") == 4


@pytest.mark.parametrize("size", [0, 1, 5_000_000])
@pytest.mark.parametrize("chunked", [False, True])
async def test_bodies_of_both_framings_arrive_whole(proxy: Proxy, size: int, chunked: bool) -> None:
    async def pieces() -> object:
        for start in range(0, size, 100_000):
            yield b"x" * min(100_000, size - start)

    async with _client(proxy) as client:
        answer = await client.post("/up", content=pieces() if chunked else b"x" * size)  # type: ignore[arg-type]
    assert answer.json()["body_bytes"] == size


async def test_a_large_answer_arrives_whole(proxy: Proxy) -> None:
    async with _client(proxy) as client:
        assert len((await client.get("/big/20000000")).content) == 20000000 // 65536 * 65536


async def test_a_client_that_stops_reading_does_not_fill_the_proxy(proxy: Proxy) -> None:
    reader, writer = await asyncio.open_connection(*proxy.address, limit=1024)
    before = proxy.resident_bytes()
    writer.write(b"GET /big/300000000 HTTP/1.1\r\nHost: h\r\n\r\n")
    await reader.readline()
    await asyncio.sleep(1)
    assert proxy.resident_bytes() - before < 6 * 1024 * 1024
    writer.close()


async def test_events_come_as_they_happen(proxy: Proxy) -> None:
    times = []
    async with _client(proxy) as client, client.stream("GET", "/ticks") as answer:
        async for _ in answer.aiter_raw():
            times.append(time.monotonic())
    assert len(times) == 3
    assert times[2] - times[0] > 0.3


async def test_the_server_learns_when_a_waiting_client_goes(server: Server, proxy: Proxy) -> None:
    _, writer = await asyncio.open_connection(*proxy.address)
    writer.write(b"GET /hang HTTP/1.1\r\nHost: h\r\n\r\n")
    await asyncio.sleep(0.1)
    writer.close()
    async with asyncio.timeout(5):
        await server.gone.wait()


async def test_expect_100_continue_is_answered_before_the_body_is_sent(proxy: Proxy) -> None:
    reader, writer = await asyncio.open_connection(*proxy.address)
    writer.write(
        b"POST /up HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    )
    async with asyncio.timeout(5):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"abc")
        assert b'"body_bytes": 3' in await reader.read(-1)
    writer.close()


async def test_an_early_refusal_of_a_body_reaches_the_client(proxy: Proxy) -> None:
    head = b"POST /refuse-early HTTP/1.1\r\nHost: h\r\nContent-Length: 10000000\r\n\r\n"
    received = await raw(proxy, head + b"x" * 100_000)
    assert received.startswith(b"HTTP/1.1 413")
    assert b"too large" in received


async def test_a_websocket_of_the_api_passes(proxy: Proxy) -> None:
    async with websockets.connect(f"ws://127.0.0.1:{proxy.port}/link", proxy=None) as socket_:
        for word in ("one", "two", "x" * 200_000):
            await socket_.send(word)
            assert await socket_.recv() == "echo " + word


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"\x00\x01\x02\x03\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\nHost: h\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", 431),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\nabcd", 501),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX : smuggled\r\n\r\n", 400),
        (b"CONNECT example.org:443 HTTP/1.1\r\nHost: h\r\n\r\n", 405),
        (b"GET example HTTP/1.1\r\nHost: h\r\n\r\n", 404),
    ],
)
async def test_what_is_no_good_request_is_refused_in_words(proxy: Proxy, request_bytes: bytes, status: int) -> None:
    received = await raw(proxy, request_bytes.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
    assert received.startswith(b"HTTP/1.1 %d" % status)
    problem = json.loads(received.partition(b"\r\n\r\n")[2])
    assert problem["detail"] and problem["request_id"]


async def test_people_get_a_page_and_programs_a_problem(server: Server, proxy: Proxy) -> None:
    await server.stop()
    async with _client(proxy) as client:
        page = await client.get("/x", headers={"Accept": "text/html,*/*"})
        problem = await client.get("/x", headers={"Accept": "*/*", "X-Request-ID": "r1"})
    assert page.status_code == problem.status_code == 503
    assert page.headers["content-type"].startswith("text/html") and "is restarting" in page.text
    assert page.headers["x-request-id"] in page.text
    assert problem.headers["content-type"] == "application/problem+json"
    assert problem.headers["retry-after"] == "2"
    assert problem.json()["code"] == "server_unavailable" and problem.json()["request_id"] == "r1"
    assert problem.headers["connection"] == "close", "whoever tries again through a load balancer gets to another"


async def test_a_request_waits_out_a_short_restart_of_the_server(server: Server, proxy: Proxy) -> None:
    await server.stop()
    async with _client(proxy) as client:
        asked = asyncio.create_task(client.post("/x", content=b"abc"))
        await asyncio.sleep(0.5)
        await server.start()
        assert (await asked).json()["body_bytes"] == 3


async def test_random_bytes_never_hurt(proxy: Proxy) -> None:
    import random

    random_ = random.Random(7)
    for _ in range(200):
        blob = random_.randbytes(random_.choice([1, 5, 60, 3000]))
        if random_.random() < 0.5:
            blob = b"\x16\x03\x01" + blob
        reader, writer = await asyncio.open_connection(*proxy.address)
        writer.write(blob)
        writer.write_eof()
        try:
            async with asyncio.timeout(5):
                await reader.read(-1)
        except ConnectionResetError:
            pass
        writer.close()
    async with _client(proxy) as client:
        assert (await client.get("/")).status_code == 200


async def test_everything_lives_under_the_prefix(server: Server, start_proxy: StartProxy) -> None:
    proxy = start_proxy(prefix="/dask/")
    async with _client(proxy) as client:
        seen = (await client.get("/dask/api/x?y=1")).json()
        assert seen["target"] == "/api/x?y=1"
        assert seen["headers"]["x-forwarded-prefix"] == "/dask"
        assert (await client.get("/api/x")).status_code == 404
        assert (await client.get("/daskapi/x")).status_code == 404
        assert (await client.get("/dask")).headers["location"] == "/dask/"
        assert (await client.get("/")).headers["location"] == "/dask/"


async def test_https_where_a_certificate_is_set(
    server: Server, start_proxy: StartProxy, certificate: Certificate
) -> None:
    proxy = start_proxy(tls_certificate=certificate.certificate_path, tls_key=certificate.key_path)
    async with _client(proxy, verify=certificate.client_context()) as client:
        url = f"https://localhost:{proxy.port}"
        seen = (await client.post(url + "/up", content=b"x" * 1_000_000)).json()
        assert seen["body_bytes"] == 1_000_000
        assert seen["headers"]["x-forwarded-proto"] == "https"
        assert (await client.get("/plain")).json()["headers"]["x-forwarded-proto"] == "http"  # from loopback
    context = certificate.client_context()
    async with websockets.connect(f"wss://localhost:{proxy.port}/link", ssl=context, proxy=None) as socket_:
        await socket_.send("hi")
        assert await socket_.recv() == "echo hi"


async def test_plain_http_from_elsewhere_is_sent_to_https(
    server: Server, start_proxy: StartProxy, certificate: Certificate
) -> None:
    here = _address_of_this_machine()
    if here is None:
        pytest.skip("this machine has no address but loopback")
    proxy = start_proxy(listen_on="0.0.0.0", tls_certificate=certificate.certificate_path, tls_key=certificate.key_path)
    async with _client(proxy) as client:
        answer = await client.get(f"http://{here}:{proxy.port}/x?y=1")
    assert answer.status_code == 308
    assert answer.headers["location"] == f"https://{here}:{proxy.port}/x?y=1"


def _address_of_this_machine() -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))  # sends nothing: only asks which address would be used
        except OSError:
            return None
        address: str = sock.getsockname()[0]
    return None if address.startswith("127.") else address
