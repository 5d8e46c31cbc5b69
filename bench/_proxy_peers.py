"""The far ends of the proxy benchmark, each run as a process of its own: `_proxy_peers.py scheduler|routes ...`.

`scheduler HELLO_BYTES` stands where a scheduler would: it reads the ClientHello, one letter, and then echoes
(`e`), takes (`t`) or gives (`g`) so many bytes, or answers one byte and closes (`c`). `routes PORT` tells the
stock proxy and ours where that is. Both print their port.
"""

from __future__ import annotations

import http.server
import json
import socket
import sys
import threading
import time

PIECE = 1 << 20


def scheduler(hello_bytes: int) -> None:
    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(listening.getsockname()[1], flush=True)
    while True:
        connection, _ = listening.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_serve, args=(connection, hello_bytes), daemon=True).start()


def _serve(connection: socket.socket, hello_bytes: int) -> None:
    with connection:
        connection.recv(hello_bytes, socket.MSG_WAITALL)
        what = connection.recv(1)
        if what == b"c":
            connection.sendall(b"!")
        elif what == b"e":
            _echo(connection)
        elif what == b"t":
            _take(connection)
        elif what == b"g":
            _give(connection)


def _echo(connection: socket.socket) -> None:
    buffer = memoryview(bytearray(65536))
    while count := connection.recv_into(buffer):
        connection.sendall(buffer[:count])


def _take(connection: socket.socket) -> None:
    left = int.from_bytes(connection.recv(8, socket.MSG_WAITALL), "big")
    buffer = bytearray(PIECE)
    while left > 0:
        left -= connection.recv_into(buffer)
    connection.sendall(b"!")


def _give(connection: socket.socket) -> None:
    left = int.from_bytes(connection.recv(8, socket.MSG_WAITALL), "big")
    piece = bytes(PIECE)
    while left > 0:
        connection.sendall(piece)
        left -= PIECE
    connection.recv(1)


class _Routes(http.server.BaseHTTPRequestHandler):
    """The stock proxy's routes API (version 1) and ours (version 2), with one cluster in it."""

    protocol_version = "HTTP/1.1"
    target_port = 0

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/api/v2/routes":
            route = {"name": "bench", "host": "127.0.0.1", "scheduler_port": self.target_port, "dashboard_port": None}
            body = json.dumps({"snapshot": [route], "ticket_key": "00"}).encode() + b"\n"
            self._answer([], body)
            time.sleep(3600)
        elif "watch" in self.path:
            time.sleep(3600)
        else:
            route = {"kind": "SNI", "sni": "bench", "target": f"tls://127.0.0.1:{self.target_port}"}
            body = json.dumps({"routes": [route], "id": 1}).encode()
            self._answer([("Content-Length", str(len(body)))], body)

    def _answer(self, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        for name, value in headers or [("Connection", "close")]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def routes(target_port: int) -> None:
    _Routes.target_port = target_port
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Routes)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    {"scheduler": scheduler, "routes": routes}[sys.argv[1]](int(sys.argv[2]))
