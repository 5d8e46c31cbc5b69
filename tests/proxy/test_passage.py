"""Dask's TLS goes through the proxy untouched, to the scheduler of the cluster that its server name names."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
import time

import pytest

from dask_sluice.proxy import hello

from .conftest import StartProxy
from .rig import Certificate, Proxy, Server, client_hello, echo, raw_scheduler, records

ALERT_UNKNOWN = bytes((21, 3, 3, 0, 2, 2, 112))
ALERT_INTERNAL = bytes((21, 3, 3, 0, 2, 2, 80))


async def read_all(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(5):
        return await reader.read(-1)


async def test_tls_from_end_to_end(server: Server, proxy: Proxy, certificate: Certificate) -> None:
    async with raw_scheduler(echo, certificate.server_context()) as port:
        server.put("c1", port)
        reader, writer = await asyncio.open_connection(
            *proxy.address, ssl=certificate.client_context(), server_hostname="daskgateway-c1"
        )
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("padding", [0, 1700, 12_000, 15_500])
@pytest.mark.parametrize("record_size", [16384, 100])
async def test_a_large_hello_in_several_records_arrives_whole(
    server: Server, proxy: Proxy, padding: int, record_size: int
) -> None:
    message = client_hello("daskgateway-c1", padding=padding)[5:]
    sent = records(message, record_size)
    async with raw_scheduler(echo) as port:
        server.put("c1", port)
        reader, writer = await asyncio.open_connection(*proxy.address)
        for start in range(0, len(sent), 3000):
            writer.write(sent[start : start + 3000])
            await writer.drain()
            await asyncio.sleep(0.002)
        async with asyncio.timeout(5):
            assert await reader.readexactly(len(sent)) == sent
        writer.close()


async def test_an_unknown_cluster_is_refused_in_words_that_tls_has(proxy: Proxy) -> None:
    reader, writer = await asyncio.open_connection(*proxy.address)
    writer.write(client_hello("daskgateway-nobody"))
    assert await read_all(reader) == ALERT_UNKNOWN
    writer.close()


async def test_an_ssl_client_understands_the_refusal(proxy: Proxy, certificate: Certificate) -> None:
    with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
        await asyncio.open_connection(
            *proxy.address, ssl=certificate.client_context(), server_hostname="daskgateway-nobody"
        )


async def test_a_cluster_that_comes_up_a_moment_later_is_reached(server: Server, proxy: Proxy) -> None:
    async with raw_scheduler(echo) as port:
        server.put("c1", None)
        reader, writer = await asyncio.open_connection(*proxy.address)
        sent = client_hello("daskgateway-c1")
        writer.write(sent)
        await asyncio.sleep(0.1)
        server.put("c1", port)
        async with asyncio.timeout(5):
            assert await reader.readexactly(len(sent)) == sent
        writer.close()


async def test_a_scheduler_that_does_not_listen_is_an_internal_error(server: Server, proxy: Proxy) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    server.put("c1", port)
    await asyncio.sleep(0.1)
    reader, writer = await asyncio.open_connection(*proxy.address)
    writer.write(client_hello("daskgateway-c1"))
    assert await read_all(reader) == ALERT_INTERNAL
    assert "cluster c1: its scheduler cannot be reached" in proxy.log
    writer.close()


async def test_a_scheduler_known_by_host_name_is_looked_up(server: Server, proxy: Proxy) -> None:
    async with raw_scheduler(echo) as port:
        server.put("c1", port, host="localhost")
        reader, writer = await asyncio.open_connection(*proxy.address)
        sent = client_hello("daskgateway-c1")
        writer.write(sent)
        async with asyncio.timeout(5):
            assert await reader.readexactly(len(sent)) == sent
        writer.close()


async def test_the_end_of_each_direction_is_passed_on_by_itself(server: Server, proxy: Proxy) -> None:
    async def answer_after_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received = await reader.read(-1)
        writer.write(b"got %d" % len(received))
        writer.write_eof()

    async with raw_scheduler(answer_after_the_end) as port:
        server.put("c1", port)
        reader, writer = await asyncio.open_connection(*proxy.address)
        sent = client_hello("daskgateway-c1")
        writer.write(sent)
        writer.write_eof()
        assert await read_all(reader) == b"got %d" % len(sent)
        writer.close()


async def test_the_scheduler_may_end_its_direction_first(server: Server, proxy: Proxy) -> None:
    received = asyncio.get_running_loop().create_future()

    async def end_then_listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"bye")
        writer.write_eof()
        received.set_result(await reader.read(-1))

    async with raw_scheduler(end_then_listen) as port:
        server.put("c1", port)
        reader, writer = await asyncio.open_connection(*proxy.address)
        sent = client_hello("daskgateway-c1")
        writer.write(sent)
        assert await read_all(reader) == b"bye"
        writer.write(b"still here")
        writer.write_eof()
        assert await asyncio.wait_for(received, 5) == sent + b"still here"
        writer.close()


async def test_bulk_data_arrives_unchanged_in_both_directions_at_once(server: Server, proxy: Proxy) -> None:
    blob = os.urandom(32 * 1024 * 1024)
    async with raw_scheduler(echo) as port:
        server.put("c1", port)
        reader, writer = await asyncio.open_connection(*proxy.address, limit=1 << 20)
        sent = client_hello("daskgateway-c1") + blob

        async def send() -> None:
            for start in range(0, len(sent), 1 << 20):
                writer.write(sent[start : start + (1 << 20)])
                await writer.drain()
            writer.write_eof()

        async with asyncio.timeout(30):
            _, received = await asyncio.gather(send(), reader.read(-1))
        assert received == sent
        writer.close()


async def test_a_reader_that_stops_stops_the_writer_and_memory_stays_bounded(server: Server, proxy: Proxy) -> None:
    async def never_read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(3600)

    async with raw_scheduler(never_read) as port:
        server.put("c1", port)
        await asyncio.sleep(0.1)
        before = proxy.resident_bytes()
        with socket.create_connection(proxy.address) as sock:
            sock.sendall(client_hello("daskgateway-c1"))
            sock.settimeout(0.5)
            taken = await asyncio.to_thread(_send_until_stuck, sock)
        assert taken < 64 * 1024 * 1024
        assert proxy.resident_bytes() - before < 4 * 1024 * 1024


def _send_until_stuck(sock: socket.socket) -> int:
    taken, piece = 0, bytes(1 << 20)
    while taken < 256 * 1024 * 1024:
        try:
            taken += sock.send(piece)
        except TimeoutError:
            break
    return taken


async def test_a_scheduler_that_breaks_off_ends_the_clients_connection(server: Server, proxy: Proxy) -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async with raw_scheduler(reset) as port:
        server.put("c1", port)
        reader, writer = await asyncio.open_connection(*proxy.address)
        writer.write(client_hello("daskgateway-c1"))
        assert await _is_cut(reader)
        writer.close()


async def test_a_slow_hello_is_cut_off(start_proxy: StartProxy) -> None:
    proxy = start_proxy(hello_timeout_s=0.5)
    started = time.monotonic()
    reader, writer = await asyncio.open_connection(*proxy.address)
    writer.write(client_hello("daskgateway-c1")[:40])
    assert await _is_cut(reader)
    assert 0.4 < time.monotonic() - started < 4
    writer.close()


async def test_a_trickling_hello_costs_the_proxy_no_time(server: Server, proxy: Proxy) -> None:
    async with raw_scheduler(echo) as port:
        server.put("c1", port)
        reader, writer = await asyncio.open_connection(*proxy.address)
        sent = client_hello("daskgateway-c1")
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        writer.write(sent[:200])
        before = _cpu_seconds(proxy)
        await asyncio.sleep(0.5)
        assert _cpu_seconds(proxy) - before < 0.05
        for position in range(200, len(sent)):
            writer.write(sent[position : position + 1])
            await writer.drain()
        async with asyncio.timeout(5):
            assert await reader.readexactly(len(sent)) == sent
        writer.close()


def _cpu_seconds(proxy: Proxy) -> float:
    with open(f"/proc/{proxy.processes[0].pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def test_more_connections_than_one_address_may_have_are_closed(server: Server, start_proxy: StartProxy) -> None:
    proxy = start_proxy(max_connections_per_address=3)
    async with raw_scheduler(echo) as port:
        server.put("c1", port)
        sent = client_hello("daskgateway-c1")
        streams = []
        for _ in range(3):
            reader, writer = await asyncio.open_connection(*proxy.address)
            writer.write(sent)
            async with asyncio.timeout(5):
                assert await reader.readexactly(len(sent)) == sent
            streams.append(writer)
        reader, writer = await asyncio.open_connection(*proxy.address)
        assert await _is_cut(reader)
        writer.close()
        for stream in streams:
            stream.close()
            await stream.wait_closed()
        async with asyncio.timeout(5):
            while await _is_refused(proxy, sent):
                pass


async def _is_cut(reader: asyncio.StreamReader) -> bool:
    try:
        return await read_all(reader) == b""
    except ConnectionResetError:
        return True


async def _is_refused(proxy: Proxy, sent: bytes) -> bool:
    reader, writer = await asyncio.open_connection(*proxy.address)
    try:
        writer.write(sent)
        return await reader.read(len(sent)) == b""
    except ConnectionResetError:
        return True
    finally:
        writer.close()


async def test_foreign_tls_is_told_so_where_https_is_not_set_up(proxy: Proxy) -> None:
    reader, writer = await asyncio.open_connection(*proxy.address)
    writer.write(client_hello("example.org"))
    assert await read_all(reader) == hello.alert(hello.HANDSHAKE_FAILURE)
    writer.close()
