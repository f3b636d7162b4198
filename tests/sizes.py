"""The size ratchet: no room of the gateway grows past one idea. Part of `make check`.

A file may have 250 lines and a function 40 (docstring not counted). There is no list of exceptions, on purpose:
what does not fit is split.
"""

import ast
import sys
from pathlib import Path

FILE_LINES = 250
FUNCTION_LINES = 40
ROOT = Path(__file__).parent.parent / "gateway"


def problems(root: Path) -> list[str]:
    """Every file and function that is too long, a sentence each."""
    found = []
    for path in sorted((*root.rglob("*.py"), *root.rglob("*.lua"))):
        text = path.read_text()
        name = path.relative_to(root.parent)
        if (lines := len(text.splitlines())) > FILE_LINES:
            found.append(f"{name}: {lines} lines, at most {FILE_LINES}; split it")
        if path.suffix == ".py":
            found += [f"{name}:{node.lineno}: {node.name} {what}" for node, what in _long(ast.parse(text))]
    return found


def _long(tree: ast.Module) -> list[tuple[ast.FunctionDef | ast.AsyncFunctionDef, str]]:
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        first = node.body[0]
        documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
        start = (first.end_lineno or first.lineno) if documented else first.lineno - 1
        if (lines := (node.end_lineno or start) - start) > FUNCTION_LINES:
            found.append((node, f"has {lines} lines, at most {FUNCTION_LINES}; split it"))
    return found


if __name__ == "__main__":
    said = problems(ROOT)
    print("\n".join(said) or "Sizes are right.")
    sys.exit(bool(said))
