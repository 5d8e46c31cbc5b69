"""Whatever else may stand where a server should be, or on the way to it: real sockets on loopback, real servers with a
wrong setting. `Site` holds them all until the tests are over.
"""

from __future__ import annotations

import contextlib
import datetime
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import sysconfig
import threading
import venv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import trustme

from ...live import LiveServer

HOP_BY_HOP = ("connection", "upgrade", "transfer-encoding", "content-length", "host")
PATIENCE_S = 100
PASSWORD = "of-sixteen-letters"


@dataclass(frozen=True)
class Seen:
    """What a person saw: which step was named, its sentence and hint, and the error as it was printed."""

    step: str
    code: str
    sentence: str
    hint: str
    printed: str


class Site:
    """Servers and stand-ins. `live`: a server with every setting as it should be."""

    def __init__(self, live: LiveServer, directory: Path, stack: contextlib.ExitStack) -> None:
        self.live, self.directory, self._stack = live, directory, stack
        self._count = 0

    # -- what a person does

    def doctor(self, address: str, *arguments: str, **variables: str) -> Seen:
        """`dask-sluice doctor`, until it ends."""
        command = [*DOCTOR, *(["--address", address] if address else []), *arguments]
        environment = {**os.environ, **variables}
        return seen(subprocess.run(command, capture_output=True, text=True, env=environment, timeout=PATIENCE_S))

    def serve(self, *arguments: str, **settings: Any) -> Seen:
        """`dask-sluice serve`, which does not start."""
        command = [*COMMAND, "serve", "--config", str(self._config(settings)), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, cwd=self.directory)
        assert done.returncode in (1, 2), done
        sentence, _, hint = done.stderr.strip().removeprefix("dask-sluice: ").partition("\n")
        return Seen("serve", "", sentence, hint, done.stderr)

    # -- servers

    def server(self, *, backend: str = "fake", **settings: Any) -> LiveServer:
        """A real server with these settings."""
        file = self._config({"backend": {"kind": backend}, **settings})
        return self._stack.enter_context(LiveServer(file.parent, "--config", str(file)))

    def data_dir(self) -> Path:
        self._count += 1
        directory = self.directory / f"data-{self._count}"
        directory.mkdir()
        return directory

    def _config(self, settings: Mapping[str, Any]) -> Path:
        file = self.data_dir() / "sluice.yaml"
        file.write_text(json.dumps(settings, indent=2))  # which is YAML as well
        return file

    @cached_property
    def shared(self) -> LiveServer:
        """A server for users who may do this and that; nobody's doctor comes as far as a cluster on it."""
        return self.server(
            listen={"prefix": "/services/dask"},
            authenticator={"kind": "basic", "basic": {"password": PASSWORD}},
            limits={"site": {"clusters": 1}, "users": {"nobody": {"clusters": 0}, "one": {"clusters": 1}}},
            usage={"budgets": {"users": {"spender": {"amount": 0, "unit": "core_hours", "period": "month"}}}},
        )

    # -- environments

    def environment(self, name: str, *, packages: bool = True, **broken: str) -> Path:
        """A virtual environment, with this one's packages or none; `broken`: packages that fail with that line."""
        directory = self.directory / name
        venv.EnvBuilder(with_pip=False, symlinks=True).create(directory)
        (site_packages,) = directory.glob("lib/python*/site-packages")
        if packages:
            (site_packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
        for package, line in broken.items():
            (site_packages / package).mkdir()
            (site_packages / package / "__init__.py").write_text(line + "\n")
        return directory

    # -- what is no server of ours

    def answers(
        self, status: int, text: str = "", kind: str = "text/html", context: ssl.SSLContext | None = None, **more: str
    ) -> str:
        """An HTTP server with this one answer to everything."""

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                for name, value in {"Content-Type": kind, "Content-Length": str(len(text)), **more}.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                self.wfile.write(text.encode())

            def version_string(self) -> str:
                return "nginx"

            def log_message(self, *_: Any) -> None:
                pass

        return self._stack.enter_context(_serving(Answer, context))

    def http_only(self, server: str) -> str:
        """A proxy that passes HTTP on, and nothing that wants to become something else."""
        host, _, port = server.removeprefix("http://").partition(":")

        class Pass(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                kept = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
                behind = http.client.HTTPConnection(host, int(port), timeout=30)
                behind.request(self.command, self.path, body, kept)
                answer = behind.getresponse()
                text = answer.read()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in HOP_BY_HOP:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)
                behind.close()

            do_POST = do_DELETE = do_GET

            def log_message(self, *_: Any) -> None:
                pass

        return self._stack.enter_context(_serving(Pass, None))

    def black_hole(self) -> str:
        """A port that neither takes connections nor refuses them: its queue is full, so the kernel drops what comes."""
        listening = self._stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(4):
            filler = self._stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listening.getsockname())
        return f"127.0.0.1:{listening.getsockname()[1]}"

    def closed_port(self) -> str:
        """A port that was free a moment ago."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            return f"127.0.0.1:{taken.getsockname()[1]}"

    # -- certificates

    @cached_property
    def authority(self) -> trustme.CA:
        return trustme.CA()

    def tls(self, name: str = "localhost", days: tuple[int, int] = (-1, 30), *, self_signed: bool = False) -> str:
        """A stand-in with https and a certificate for `name`, valid over these days from now: its address."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if self_signed:
            itself = trustme.CA()
            with itself.cert_pem.tempfile() as certificate, itself.private_key_pem.tempfile() as key:
                context.load_cert_chain(certificate, key)
        else:
            first, last = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(each) for each in days)
            self.authority.issue_cert(name, not_before=first, not_after=last).configure_cert(context)
        at = self.answers(404, context=context)
        return at.replace("http://127.0.0.1", "https://localhost")

    @property
    def knows_authority(self) -> dict[str, str]:
        """The variable by which a client knows the authority."""
        path = self.directory / "authority.pem"
        self.authority.cert_pem.write_to_path(str(path))
        return {"SSL_CERT_FILE": str(path)}


COMMAND = [sys.executable, "-m", "dask_sluice"]
DOCTOR = [*COMMAND, "doctor", "--json"]


def seen(done: subprocess.CompletedProcess[str]) -> Seen:
    """What `doctor --json` printed, once it has ended."""
    assert done.returncode == 1, (done.stdout, done.stderr)
    broken = next(step for step in json.loads(done.stdout) if step["error"])
    said = done.stderr.splitlines(keepends=True)
    if said[0].startswith("dask-sluice: warning: Mismatched versions found"):  # of what then breaks
        del said[0]
    assert "".join(said) == f"dask-sluice: {broken['step']} is broken: {broken['error']}\n{broken['hint']}\n"
    return Seen(broken["step"], broken["code"], broken["error"], broken["hint"], done.stderr)


def user(name: str) -> dict[str, str]:
    """The variables by which a client of the shared server is this user."""
    return {
        "DASK_SLUICE__AUTH__TYPE": "basic",
        "DASK_SLUICE__AUTH__KWARGS__USERNAME": name,
        "DASK_SLUICE__AUTH__KWARGS__PASSWORD": PASSWORD,
    }


def has_one(site: Site) -> None:
    """The shared server's user `one` has a cluster, and there is no room for another."""
    new = [*COMMAND, "new", "--no-wait", "--address", site.shared.url]
    subprocess.run(new, env={**os.environ, **user("one")}, capture_output=True, timeout=PATIENCE_S)


def end_proxies(data_dir: Path) -> None:
    """Those of a server that leaves its clusters, and so its proxies, to other servers on the database."""
    for proxy in json.loads((data_dir / "proxy.json").read_text())["proxies"]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(proxy["pid"], signal.SIGTERM)


@contextlib.contextmanager
def _serving(handler: type[BaseHTTPRequestHandler], context: ssl.SSLContext | None) -> Iterator[str]:
    handler.protocol_version = "HTTP/1.1"
    with _Server(("127.0.0.1", 0), handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Clients that go away in the middle are what these tests are about."""
