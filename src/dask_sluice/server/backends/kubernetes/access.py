"""Where the API server is and who we are to it: from inside a pod, or from a kubeconfig.

A service account's token is replaced on disk about every hour; it is read again whenever its file has changed.
"""

from __future__ import annotations

import base64
import os
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ...startup import CannotStart

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where Kubernetes mounts a pod's own token, authority and namespace."""


class TokenFile:
    """A token in a file, read again when the file is another one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: tuple[tuple[int, int], str] | None = None

    def read(self) -> str:
        """The token as it is now; the last known one while the file cannot be read."""
        try:
            status = self._path.stat()
            version = (status.st_mtime_ns, status.st_ino)
            if self._known is None or self._known[0] != version:
                self._known = (version, self._path.read_text().strip())
        except OSError:
            if self._known is None:
                raise
        return self._known[1]


@dataclass(frozen=True)
class Access:
    """How to reach the API server."""

    server: str
    """`https://host:port`, no slash at its end."""
    namespace: str
    """Where we are, or what the kubeconfig's context names."""
    tls: ssl.SSLContext = field(repr=False)
    token: TokenFile | str = field(default="", repr=False)

    def headers(self) -> Mapping[str, str]:
        """What every request carries. Reads the token's file if it has changed; no other I/O."""
        token = self.token if isinstance(self.token, str) else self.token.read()
        return {"Authorization": f"Bearer {token}"} if token else {}


def find_access(kubeconfig: str = "", context: str = "") -> Access:
    """The access that is there: a named kubeconfig, a pod's own account, `KUBECONFIG`, `~/.kube/config`.

    raises  CannotStart, naming what is missing
    """
    if kubeconfig:
        return from_kubeconfig(Path(kubeconfig), context)
    if os.environ.get("KUBERNETES_SERVICE_HOST") and (SERVICE_ACCOUNT / "token").exists():
        return from_service_account()
    named = os.environ.get("KUBECONFIG")
    path = Path(named.split(":")[0]) if named else Path.home() / ".kube" / "config"
    if not path.exists():
        raise CannotStart(
            f"no Kubernetes API server is known here: this is no pod with a service account, and there is no {path}",
            hint="Install the server with its chart, or name a kubeconfig: backend.kubernetes.kubeconfig.",
        )
    return from_kubeconfig(path, context)


def from_service_account(directory: Path = SERVICE_ACCOUNT, server: str = "") -> Access:
    """The access of the pod that this process runs in.

    raises  CannotStart
    """
    if not server:
        host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    token = TokenFile(directory / "token")
    try:
        token.read()
        namespace = (directory / "namespace").read_text().strip()
        tls = ssl.create_default_context(cafile=directory / "ca.crt")
    except OSError as error:
        raise CannotStart(f"the pod's service account cannot be read: {error}") from error
    return Access(server, namespace, tls, token)


def from_kubeconfig(path: Path, name: str = "") -> Access:
    """The access that a context of the file describes; without a name its current one.

    raises  CannotStart, naming the file and the key
    """
    try:
        document = yaml.safe_load(path.read_text())
        context = _named(document, "contexts", name or str(document["current-context"]))["context"]
        cluster = _named(document, "clusters", context["cluster"])["cluster"]
        user = _named(document, "users", context["user"])["user"] or {}
        return Access(
            server=str(cluster["server"]).rstrip("/"),
            namespace=str(context.get("namespace") or "default"),
            tls=_tls(cluster, user, path.parent),
            token=_token(user, path),
        )
    except CannotStart:
        raise
    except (OSError, yaml.YAMLError, ValueError, ssl.SSLError) as error:
        raise CannotStart(f"{path}: cannot be read as a kubeconfig: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise CannotStart(f"{path}: is no kubeconfig with that context: {error} is missing or wrong") from error


def _named(document: Mapping[str, Any], section: str, name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next((entry for entry in document[section] if entry["name"] == name), {})
    if not found:
        raise KeyError(f"{section}: {name}")
    return found


def _token(user: Mapping[str, Any], path: Path) -> TokenFile | str:
    for unsupported in ("exec", "auth-provider"):
        if unsupported in user:
            raise CannotStart(
                f"{path}: its user logs in with a program ({unsupported}), which a server cannot do",
                hint="Give the server a service account, and its token in the kubeconfig: `token` or `tokenFile`.",
            )
    if "tokenFile" in user:
        return TokenFile(path.parent / user["tokenFile"])
    return str(user.get("token", ""))


def _tls(cluster: Mapping[str, Any], user: Mapping[str, Any], anchor: Path) -> ssl.SSLContext:
    authority = _pem(cluster, "certificate-authority", anchor)
    context = ssl.create_default_context(cadata=authority or None)
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    certificate, key = _pem(user, "client-certificate", anchor), _pem(user, "client-key", anchor)
    if certificate and key:
        # OpenSSL reads an identity from files only; this one exists for that moment.
        with tempfile.TemporaryDirectory(prefix="sluice-") as directory:
            identity = Path(directory) / "identity.pem"
            identity.touch(mode=0o600)
            identity.write_text(f"{key}\n{certificate}")
            context.load_cert_chain(identity)
    return context


def _pem(section: Mapping[str, Any], key: str, anchor: Path) -> str:
    """A PEM text that stands in the kubeconfig itself, or in a file that it names."""
    if data := section.get(f"{key}-data"):
        return base64.b64decode(data).decode()
    return (anchor / section[key]).read_text() if section.get(key) else ""
