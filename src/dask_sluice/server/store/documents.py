"""Records as JSON and back, checked on the way in: a damaged or foreign row is found at once."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Row

from ...wire.reasons import Reason, ReasonCode
from ..model import ClusterRecord, Event, WorkerRecord

_CLUSTER: TypeAdapter[ClusterRecord] = TypeAdapter(ClusterRecord)
_WORKER: TypeAdapter[WorkerRecord] = TypeAdapter(WorkerRecord)


def cluster_row(record: ClusterRecord) -> dict[str, Any]:
    """The row of a cluster; its workers have rows of their own."""
    return {
        "name": record.name,
        "owner": record.spec.owner,
        "state": str(record.state),
        "version": record.version,
        "created_at": record.created_at,
        "ended_at": record.ended_at,
        "holder": record.holder,
        "document": _CLUSTER.dump_json(replace(record, workers=(), holder="")).decode(),
    }


def cluster_from(row: Row[Any]) -> ClusterRecord:
    """A record from its row and the documents of its workers, a line each, in any order."""
    record = _CLUSTER.validate_json(row.document)
    workers = [_WORKER.validate_json(line) for line in row.workers.split("\n")] if row.workers else []
    return replace(record, holder=row.holder, workers=tuple(sorted(workers, key=worker_number)))


def worker_row(cluster: str, worker: WorkerRecord) -> dict[str, Any]:
    """The row of a worker that is part of its cluster's record."""
    return {
        "cluster": cluster,
        "number": worker_number(worker),
        "kept": True,
        "document": _WORKER.dump_json(worker).decode(),
    }


def worker_from(document: str) -> WorkerRecord:
    """A worker from its document."""
    return _WORKER.validate_json(document)


def worker_number(worker: WorkerRecord) -> int:
    """The number at the end of a worker's name."""
    return int(worker.name.rpartition("-")[2])


def event_row(event: Event, owner: str) -> dict[str, Any]:
    """The row of an event; the owner is there for searching."""
    return {
        "time": event.time,
        "cluster": event.cluster,
        "owner": owner,
        "subject": event.subject,
        "kind": event.kind,
        "code": str(event.reason.code),
        "details": json.dumps(dict(event.reason.details)),
    }


def event_from(row: Row[Any]) -> Event:
    """An event from its row."""
    reason = Reason(ReasonCode(row.code), json.loads(row.details))
    return Event(row.time, row.cluster, row.subject, row.kind, reason, id=row.id)
