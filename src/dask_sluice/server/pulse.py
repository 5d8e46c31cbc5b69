"""What the loop tells of itself: counts for metrics, and where it is stuck, for health."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Pulse:
    """Kept by the loop, read by others."""

    running: bool = False
    steps: int = 0
    failures: int = 0
    failing: dict[str, str] = field(default_factory=dict)
    """Clusters whose last step failed, and why."""
    stepping: dict[str, float] = field(default_factory=dict)
    """Clusters that a step is being taken for, since when."""

    def began(self, name: str, now: float) -> None:
        self.stepping[name] = now

    def ended(self, name: str) -> None:
        self.stepping.pop(name, None)

    def succeeded(self, name: str) -> None:
        self.steps += 1
        self.failing.pop(name, None)

    def failed(self, name: str, why: str) -> None:
        self.failures += 1
        self.failing[name] = why

    def left(self, name: str) -> None:
        """The cluster has ended, or is no more."""
        self.failing.pop(name, None)

    def stuck(self, before: float) -> list[str]:
        """Clusters whose step began before that time and has not ended."""
        return [name for name, since in self.stepping.items() if since < before]
