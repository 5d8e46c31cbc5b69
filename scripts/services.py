"""Before the tests that need a real service: install, as root on Debian, what is missing; else say what is.

The tests themselves skip with the reason where a service is not there (and fail in CI, where it must be).
"""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

PACKAGES: dict[str, Callable[[], bool]] = {
    "chromium": lambda: shutil.which("chromium") is not None,
    "zstd": lambda: shutil.which("zstd") is not None,  # unpacks the kit's helm
    "postgresql": lambda: any(Path("/usr/lib/postgresql").glob("*/bin/initdb")),
}


def main() -> None:
    missing = [package for package, is_there in PACKAGES.items() if not is_there()]
    if not missing:
        return
    if os.geteuid() != 0 or not Path("/etc/debian_version").exists():
        print(f"services: not installed here, tests that need them are skipped: {', '.join(missing)}")
        return
    print(f"services: installing {', '.join(missing)}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-q"], ["install", "-y", "-q", "--no-install-recommends", *missing]):
        subprocess.run(["apt-get", *command], env=environment, check=False, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
