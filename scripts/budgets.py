"""Fail where a file or a function of ours is too long to hold in the head (house style, rule 3)."""

import ast
import sys
from pathlib import Path

WARN_FILE, FAIL_FILE, FAIL_FUNCTION = 500, 700, 60


def main() -> int:
    failures = 0
    for path in sorted(Path("src").rglob("*.py")):
        source = path.read_text()
        lines = source.count("\n")
        if lines > WARN_FILE:
            print(f"{path}: {lines} lines; split it by noun (warning at {WARN_FILE}, failure at {FAIL_FILE})")
            failures += lines > FAIL_FILE
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                if length > FAIL_FUNCTION:
                    print(f"{path}:{node.lineno}: {node.name} has {length} lines, the limit is {FAIL_FUNCTION}")
                    failures += 1
    print("budgets: every file and function fits" if not failures else f"budgets: {failures} over")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
