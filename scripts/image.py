"""Build the image of servers and proxies from wheels, with buildah; no daemon, and no network while building.

    python scripts/image.py --base registry.example.org/python:3.11 --tag registry.example.org/dask-sluice:1.0
    python scripts/image.py --wheels-only          # only fill dist/wheels, for another builder

The same source and base give the same image: versions come from requirements/dev.lock, times are fixed.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WHEELS = ROOT / "dist" / "wheels"
EXTRAS = "server,postgresql"
PYTHON, PLATFORMS = "3.11", ("manylinux_2_28", "manylinux_2_17", "manylinux2014")
FOR_THE_IMAGE = (
    *("--disable-pip-version-check", "--only-binary", ":all:", "--python-version", PYTHON, "--implementation", "cp"),
    *(option for machine in PLATFORMS for option in ("--platform", f"{machine}_{os.uname().machine}")),
)
"""Of pip: wheels that fit the image, whatever this machine has."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="python:3.11-slim", help="image with Python 3.11 to build on")
    parser.add_argument("--tag", default="dask-sluice:dev", help="name of the image")
    parser.add_argument("--archive", type=Path, help="write the image to this docker archive, too")
    parser.add_argument("--wheels-only", action="store_true", help="build no image")
    given = parser.parse_args()
    fill_wheels()
    if not given.wheels_only:
        build(given.base, given.tag, given.archive)


def fill_wheels() -> None:
    """Our own wheel and all that it needs, nothing else, in dist/wheels."""
    shutil.rmtree(WHEELS, ignore_errors=True)
    WHEELS.mkdir(parents=True)
    ours = build_wheel(WHEELS)
    _run(
        *(sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(WHEELS), *FOR_THE_IMAGE),
        *("--constraint", str(ROOT / "requirements" / "dev.lock"), f"{ours}[{EXTRAS}]"),
    )
    (WHEELS / "requirements.txt").write_text(f"dask-sluice[{EXTRAS}]\n")


def build_wheel(folder: Path) -> Path:
    """Our own wheel, the only one of ours in the folder."""
    for old in folder.glob("dask_sluice-*.whl"):
        old.unlink()
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "0"}
    uv = Path(sys.executable).with_name("uv")
    _run(str(uv), "build", "--quiet", "--wheel", "--out-dir", str(folder), str(ROOT), environment=environment)
    (folder / ".gitignore").unlink(missing_ok=True)
    (ours,) = folder.glob("dask_sluice-*.whl")
    return ours


def build(base: str, tag: str, archive: Path | None) -> None:
    """The image in buildah's storage and, if asked, in an archive."""
    environment = surroundings()
    _run(
        "buildah",
        "build",
        "--quiet",
        "--timestamp",
        "0",
        "--build-arg",
        f"BASE={base}",
        "--tag",
        tag,
        str(ROOT),
        environment=environment,
    )
    if archive is not None:
        archive.unlink(missing_ok=True)
        _run("buildah", "push", "--quiet", tag, f"docker-archive:{archive}:{tag}", environment=environment)


def surroundings() -> dict[str, str]:
    """Buildah's environment."""
    if os.geteuid() == 0:  # without a user namespace and overlayfs, as in a container, these two work
        return {"STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"} | os.environ
    return dict(os.environ)


def _run(*command: str, environment: dict[str, str] | None = None) -> None:
    subprocess.run(command, check=True, env=environment)


if __name__ == "__main__":
    main()
