"""The tables. Columns for what is searched, one JSON document for the rest of a record.

Living workers are rows of their own and so are ended ones: a change writes only the rows that it
changes, and costs the same in a cluster's thousandth hour as in its first.

Secrets (a cluster's CA key, its link token) stand in plain text. Whoever can read the file could sign
certificates for every cluster, so hashing one token beside the key would gain nothing; what protects
both is the file's mode, 0600, in a directory of mode 0700.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData()

clusters = Table(
    "clusters",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("owner", String(255), nullable=False),
    Column("state", String(16), nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("ended_at", Float),
    Column("document", Text, nullable=False),
    # The replica that works on it; empty where there is only one server.
    Column("holder", String(80), nullable=False, server_default=""),
    Index("ix_clusters_owner_state", "owner", "state"),
    Index("ix_clusters_state", "state"),
    Index("ix_clusters_holder", "ended_at", "holder"),
)

workers = Table(
    "workers",
    metadata,
    Column("cluster", ForeignKey("clusters.name", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    # Whether it is still part of its cluster's record; history otherwise.
    Column("kept", Boolean, nullable=False),
    Column("document", Text, nullable=False),
    Index("ix_workers_cluster_kept", "cluster", "kept"),
)

events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("time", Float, nullable=False),
    Column("cluster", ForeignKey("clusters.name", ondelete="CASCADE"), nullable=False),
    Column("owner", String(255), nullable=False),
    Column("subject", String(64), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("code", String(64), nullable=False),
    Column("details", Text, nullable=False),
    Index("ix_events_cluster", "cluster", "id"),
    Index("ix_events_owner", "owner", "id"),
    # Followers remember the last id they saw: an id is never given twice.
    sqlite_autoincrement=True,
)

requests = Table(
    "requests",
    metadata,
    Column("owner", String(255), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("cluster", ForeignKey("clusters.name", ondelete="CASCADE"), nullable=False),
)

secrets = Table(
    "secrets",
    metadata,
    Column("cluster", ForeignKey("clusters.name", ondelete="CASCADE"), primary_key=True),
    Column("link_token", String(64), nullable=False),
    Column("ca_certificate", Text, nullable=False),
    Column("ca_key", Text, nullable=False),
    # JSON: environment variables that must not stand in the cluster's document.
    Column("variables", Text, nullable=False, server_default="{}"),
)

keys = Table(
    "keys",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", LargeBinary, nullable=False),
)

# The usage ledger. No foreign key: it outlives the clusters that it tells of.
intervals = Table(
    "intervals",
    metadata,
    Column("job_id", String(128), primary_key=True),
    Column("cluster", String(63), nullable=False),
    Column("owner", String(255), nullable=False),
    Column("group_name", String(255), nullable=False),
    Column("profile", String(255), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("cores", Float, nullable=False),
    Column("memory_bytes", BigInteger, nullable=False),
    Column("gpus", Integer, nullable=False),
    Column("price_hour", Float, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("started_at", Float, nullable=False),
    # None while it runs.
    Column("ended_at", Float),
    Index("ix_intervals_ended", "ended_at"),
    Index("ix_intervals_owner", "owner", "ended_at"),
    Index("ix_intervals_group", "group_name", "ended_at"),
)

# What processes wrote that are gone, where the backend cannot tell any more; compressed. No foreign key: the backend
# may keep and forget it before or after the record changes.
kept_logs = Table(
    "kept_logs",
    metadata,
    Column("cluster", String(63), primary_key=True),
    Column("job_id", String(128), primary_key=True),
    Column("kept_at", Float, nullable=False),
    # Of `log`, in bytes.
    Column("size", Integer, nullable=False),
    Column("log", LargeBinary, nullable=False),
)

# One row for each living server. A lease is the replica's, not the cluster's: renewing it costs the same with
# ten thousand clusters as with one (docs/decisions/0008-leases-of-replicas.md).
replicas = Table(
    "replicas",
    metadata,
    Column("name", String(80), primary_key=True),
    Column("lease_until", Float, nullable=False),
)
