"""How many connections one address may hold, so that no single host takes all of them."""

from __future__ import annotations


class PerAddress:
    """Counts open connections by address. The count is per proxy process."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: dict[str, int] = {}

    def enter(self, address: str) -> bool:
        """Whether one more is allowed; if so it is counted until `leave`."""
        count = self._open.get(address, 0)
        if count >= self._most:
            return False
        self._open[address] = count + 1
        return True

    def leave(self, address: str) -> None:
        count = self._open[address] - 1
        if count:
            self._open[address] = count
        else:
            del self._open[address]

    def __len__(self) -> int:
        return sum(self._open.values())
