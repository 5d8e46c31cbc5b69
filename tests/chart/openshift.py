"""What OpenShift's security context constraint `restricted-v2` does to pods, by an admission webhook.

https://docs.openshift.com/container-platform/latest/authentication/managing-security-context-constraints.html: each
namespace has a range of ids. A pod that asks for another one is refused; one that asks for none gets the first. Its
group is 0, and its volumes belong to a group out of the range.
"""

from __future__ import annotations

import base64
import json
import ssl
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from dask_sluice.server.certificates import Role, issue, new_authority

from ..kubernetes.kube import Kube

FIRST = 1_000_710_000
RANGE = range(FIRST, FIRST + 10_000)


def reviewed(pod: Mapping[str, Any]) -> tuple[str, list[dict[str, Any]]]:
    """Why the pod is refused, or how it is changed (RFC 6902)."""
    spec = pod["spec"]
    containers = (*spec.get("initContainers", ()), *spec["containers"])
    contexts = [each["securityContext"] for each in (spec, *containers) if each.get("securityContext")]
    for context in contexts:
        for key in ("runAsUser", "fsGroup"):
            if key in context and context[key] not in RANGE:
                return f"{key}: Invalid value: {context[key]}: must be in the ranges: [{RANGE.start}, {RANGE[-1]}]", []
    given = {"runAsUser": FIRST, "fsGroup": FIRST, **spec.get("securityContext", {})}
    return "", [{"op": "add", "path": "/spec/securityContext", "value": given}]


class _Review(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["request"]
        refused, changes = reviewed(request["object"])
        response: dict[str, Any] = {"uid": request["uid"], "allowed": not refused}
        if refused:
            response["status"] = {"message": refused, "code": 403}
        else:
            response |= {"patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(changes).encode()).decode()}
        body = json.dumps(
            {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def constraining(kube: Kube, namespace: str) -> Iterator[None]:
    """The constraint holds for the namespace's pods while this lasts. The API server has to reach this machine."""
    authority = new_authority("openshift", time.time())
    identity = issue(authority.certificate, authority.key, Role.SCHEDULER, "openshift", "localhost", time.time())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(identity.key + identity.certificate)
        file.flush()
        context.load_cert_chain(file.name)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Review) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        webhook = {
            "name": "scc.openshift.test",
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "clientConfig": {
                "url": f"https://localhost:{server.server_address[1]}/",
                "caBundle": base64.b64encode(authority.certificate.encode()).decode(),
            },
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}],
        }
        about = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration"}
        kube.apply(namespace, {**about, "metadata": {"name": namespace}, "webhooks": [webhook]})
        try:
            yield
        finally:
            kube.run("delete", "mutatingwebhookconfiguration", namespace)
            server.shutdown()
            thread.join()
