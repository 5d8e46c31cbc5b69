"""What a process gets, from merged values: checked, since templates and hooks may have come to anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ...wire.errors import RequestInvalid
from ...wire.options import LARGEST
from ..backends.protocol import Size
from ..memory import parse_memory, shown
from ..merging import Merged
from ..settings_policy import Node

N = TypeVar("N", int, float)


def size_of(merged: Merged, process: str) -> Size:
    """The size of `worker` or `scheduler`.

    raises  RequestInvalid naming the value and where it came from
    """
    cores = number(merged, process, "cores", above=0.0)
    memory = _memory(merged, process, "memory")
    threads = int(number(merged, process, "threads", least=0, whole=True, default=0))
    cores_request = number(merged, process, "cores_request", above=0.0, default=cores)
    memory_request = _memory(merged, process, "memory_request") or memory
    _within(merged, (process, "cores"), cores_request, cores, "{:g}".format)
    _within(merged, (process, "memory"), memory_request, memory, shown)
    return Size(
        cores=cores,
        memory_bytes=memory,
        threads=threads or max(1, int(cores)),
        gpus=int(number(merged, process, "gpus", least=0, whole=True, default=0)),
        cores_request=0 if cores_request == cores else cores_request,
        memory_request_bytes=0 if memory_request == memory else memory_request,
    )


def per_node(size: Size, node: Node) -> int:
    """How many of this size fit on a node, by what is set aside for each."""
    millicores = round(1000 * (node.cores - node.reserved_cores)) // max(
        1, round(1000 * (size.cores_request or size.cores))
    )
    left = parse_memory(node.memory) - parse_memory(node.reserved_memory)
    each = size.memory_request_bytes or size.memory_bytes
    return min(millicores, left // each) if each else millicores


def number(
    merged: Merged,
    *path: str,
    least: float | None = None,
    above: float | None = None,
    whole: bool = False,
    default: float | None = None,
) -> float:
    """A finite number within bounds; text of one is taken for one, since templates make texts."""
    value = merged.get(*path)
    if value is None and default is not None:
        return default
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise invalid(merged, path, f"must be a number, got {value!r}") from None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise invalid(merged, path, f"must be a number, got {value!r}")
    if not abs(value) < LARGEST or (whole and value != int(value)):
        raise invalid(merged, path, f"must be a {'whole' if whole else 'finite'} number, got {value!r}")
    if (least is not None and value < least) or (above is not None and value <= above):
        bound = f"at least {least:g}" if least is not None else f"above {above:g}"
        raise invalid(merged, path, f"must be {bound}, got {value:g}")
    return float(value)


def text(merged: Merged, *path: str) -> str:
    """A text, empty where nothing is said."""
    value = merged.get(*path)
    if value is not None and not isinstance(value, str):
        raise invalid(merged, path, f"must be text, got {value!r}")
    return (value or "").strip()


def invalid(merged: Merged, path: tuple[str, ...], what: str) -> RequestInvalid:
    """The error for one value, with where it came from."""
    key, source = ".".join(path), merged.source(*path)
    return RequestInvalid(f"{key} {what} (from {source})", details={"field": key, "source": source})


def _within(merged: Merged, path: tuple[str, str], request: N, limit: N, told: Callable[[N], str]) -> None:
    """Whether no more is set aside than may be used; a limit of 0 is none."""
    if limit and request > limit:
        most, key = f"{told(limit)} (from {merged.source(*path)})", f"{path[1]}_request"
        raise invalid(merged, (path[0], key), f"is above {'.'.join(path)}, which is {most}: it is {told(request)}")


def _memory(merged: Merged, process: str, key: str) -> int:
    value: Any = merged.get(process, key)
    if value is None:
        return 0
    try:
        return parse_memory(value)
    except ValueError as error:
        raise invalid(merged, (process, key), str(error)) from None
