"""Make the virtual environment that the Makefile uses. Standard library only: nothing is there before it."""

import subprocess
import sys
import venv
from pathlib import Path


def run(*command: str) -> None:
    subprocess.run(command, check=True)


def main(target: Path) -> None:
    if not (target / "bin" / "python").exists():
        try:
            venv.create(target, with_pip=True)
        except (SystemExit, subprocess.CalledProcessError):
            sys.exit("set_up: this Python cannot make virtual environments (on Debian: apt-get install python3-venv)")
    python = str(target / "bin" / "python")
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv")
    uv = str(target / "bin" / "uv")
    run(uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", python, "-r", "requirements/dev.lock")
    run(uv, "pip", "install", "--quiet", "--python", python, "--no-deps", "-e", ".")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
