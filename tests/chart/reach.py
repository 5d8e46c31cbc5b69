"""Who may connect to whom by network policies, as Kubernetes says that they work: nothing here needs a network that
enforces any (`enforcement.py` has one).

Pods are also known by their addresses to rules about addresses, as with most networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

from .helm import Documents, every

Peer = Mapping[str, Any]
NAMESPACE_LABEL = "kubernetes.io/metadata.name"


@dataclass(frozen=True)
class Place:
    """A pod, or with no namespace an address elsewhere."""

    address: str
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)
    """Those of its containers that have names."""


class Policies:
    """Network policies, and the namespace of those that name none."""

    def __init__(self, documents: Documents, namespace: str) -> None:
        self._all = [
            (each["metadata"].get("namespace", namespace), each["spec"]) for each in every(documents, "NetworkPolicy")
        ]

    def let_pass(self, source: Place, target: Place, port: int) -> bool:
        """Whether a TCP connection is let out there and let in here."""
        leaves = self._allows(source, target, target, port, "Egress", "to")
        return leaves and self._allows(target, source, target, port, "Ingress", "from")

    def _allows(self, bound: Place, other: Place, target: Place, port: int, direction: str, peers: str) -> bool:
        """Whether the policies of `bound` allow it: all is allowed where none speaks of this direction."""
        selected = [
            (namespace, spec)
            for namespace, spec in self._all
            if namespace == bound.namespace and _matches(spec["podSelector"], bound.labels)
        ]
        speaking = [(namespace, spec) for namespace, spec in selected if direction in spec["policyTypes"]]
        return not speaking or any(
            _is_port(rule.get("ports"), port, target)
            and (not rule.get(peers) or any(_is_peer(peer, other, namespace) for peer in rule[peers]))
            for namespace, spec in speaking
            for rule in spec.get(direction.lower()) or ()
        )


def _is_port(ports: list[Mapping[str, Any]] | None, port: int, target: Place) -> bool:
    """Whether a rule's list has it; none has all. A name is one of the target's containers."""
    if not ports:
        return True
    for each in ports:
        first = each.get("port", port)
        number = target.ports.get(first) if isinstance(first, str) else first
        if (
            each.get("protocol", "TCP") == "TCP"
            and number is not None
            and number <= port <= each.get("endPort", number)
        ):
            return True
    return False


def _is_peer(peer: Peer, place: Place, namespace: str) -> bool:
    """`namespace` is that of the policy: where a peer names none, it means pods there."""
    if "ipBlock" in peer:
        block, address = peer["ipBlock"], ip_address(place.address)
        return address in ip_network(block["cidr"]) and not any(
            address in ip_network(each) for each in block.get("except", ())
        )
    if not place.namespace:
        return False
    if "namespaceSelector" in peer:
        is_there = _matches(peer["namespaceSelector"], {NAMESPACE_LABEL: place.namespace})
    else:
        is_there = place.namespace == namespace
    return is_there and _matches(peer.get("podSelector", {}), place.labels)


def _matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Of selectors only what is used here: labels that are given. An empty one is for all."""
    assert set(selector) <= {"matchLabels"}, selector
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
