"""Imports point one way, nothing heavy is imported with the library, and files stay small."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
ORDER = (
    *("errors", "steps", "allocator", "config", "files", "records", "devices", "counting"),
    *("finite", "memory", "tile_settings", "tiling", "stages", "media", "metrics", "ranks", "faults", "models", "data"),
    *(
        "check",
        "compare",
        "roundtrip",
        "evaluate",
        "latents",
        "probe",
        "training",
        "bench",
        "course",
        "fetch",
        "jobs",
        "cli",
    ),
    *("commands", "ui", "__main__", "__init__"),
)
"""From the ground up. A module may import its own package and what stands before it, so no two lean on each other."""


def imported_modules(path: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = (
                [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "workbench" else [node.module]
            )
            modules |= {name.split(".")[1] for name in names if name.startswith("workbench.")}
        elif isinstance(node, ast.Import):
            modules |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("workbench.")}
    return modules


def test_every_module_imports_only_what_stands_below_it():
    for path in (ROOT / "workbench").rglob("*.py"):
        module = path.relative_to(ROOT / "workbench").parts[0].removesuffix(".py")
        below = ORDER[: ORDER.index(module) + 1]
        upward = imported_modules(path).difference(below)
        assert not upward, f"{path} imports workbench.{upward.pop()}"


def test_importing_the_library_loads_nothing_heavy():
    heavy = ["gradio", "plotly", "lpips", "diffusers", "torchvision", "tensorboard", "wandb"]
    code = f"import sys, workbench; print([m for m in {heavy!r} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_flags_and_their_errors_need_no_torch():
    """Its import takes seconds, and those of pydantic and asyncio as long as all else, which nobody who mistypes a flag
    should wait."""
    code = "import sys, app, train, workbench.__main__; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    for words in ("--help", "reconstruct --help", "reconstruct --resolutoin 3", "reconstruct none.mp4", "train"):
        code = f"""import sys, runpy
sys.argv = ["workbench", *{words.split()!r}]
try:
    runpy.run_module("workbench", run_name="__main__")
except SystemExit as stop:
    pass
sys.exit(any(name in sys.modules for name in ("torch", "pydantic", "asyncio")))"""
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)


def test_no_file_grows_beyond_400_lines():
    for path in (ROOT / "workbench").rglob("*.py"):
        assert len(path.read_text().splitlines()) <= 400, path
