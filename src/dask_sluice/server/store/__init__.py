"""What is kept: clusters, workers, events, secrets. The only writer of records."""

from .store import Secrets, Store

__all__ = ["Secrets", "Store"]
