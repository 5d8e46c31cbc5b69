"""`make demo`: start a server with embedded defaults, then take the seed notebook's steps with two clients.

First with `dask_sluice`, then with the newest `dask_gateway` from PyPI, unmodified, in an environment of its own.
The server stays until Ctrl-C; with `--end` (CI=1) it ends.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "scripts"))
from environments import environment  # noqa: E402

STOCK = "client-2026.3.0"


def start_server(data_dir: str) -> tuple[subprocess.Popen[str], str]:
    """The server's process and the URL of its `ready:` line."""
    command = [
        sys.executable,
        "-m",
        "dask_sluice",
        "serve",
        "--port",
        "0",
        "--data-dir",
        data_dir,
        "--log-level",
        "warning",
    ]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    for line in server.stdout:
        if line.startswith("ready: "):
            return server, line.removeprefix("ready: ").strip()
    sys.exit(f"demo: the server ended before it was ready, with exit code {server.wait()}")


def take_steps(python: str, module: str, *arguments: str) -> None:
    """All steps with one client, in an environment that has it."""
    subprocess.run([python, str(HERE / "steps.py"), module, *arguments], check=True)


def main(end: bool) -> None:
    """Take the steps with both clients; then keep the server up until Ctrl-C, or `end`."""
    with tempfile.TemporaryDirectory(prefix="sluice-demo-", ignore_cleanup_errors=True) as data_dir:
        began = time.perf_counter()
        server, url = start_server(data_dir)
        print(f"dask-sluice serve: ready after {time.perf_counter() - began:.2f} s at {url}\n")
        try:
            print("from dask_sluice import Gateway")
            take_steps(sys.executable, "dask_sluice", url)
            stock = environment(STOCK)
            print(f"\nfrom dask_gateway import Gateway     # {STOCK.removeprefix('client-')} from PyPI, unmodified")
            take_steps(str(stock), "dask_gateway", url, str(stock.parent.parent))
            if not end:
                print(f"\nThe page with your clusters: {url}\nCtrl-C ends the server.", flush=True)
                server.wait()
        except KeyboardInterrupt:
            print()
        except subprocess.CalledProcessError as error:
            sys.exit(f"demo: a step failed (exit code {error.returncode}); what it said is above")
        finally:
            server.terminate()
            server.wait(timeout=30)
    print("\nthe demo is over, nothing is left running")


if __name__ == "__main__":
    main(end="--end" in sys.argv[1:])
