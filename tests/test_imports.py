"""Imports point one way, nothing heavy is imported with the library, and files stay small."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
LAYERS = [
    {"allocator", "errors", "steps", "torchvision_shim"},
    {"config"},
    {"tiling", "media", "metrics", "memory"},
    {"models", "data", "compare", "ranks", "outputs"},
    {"reconstruct", "training", "bench", "evaluate", "latents"},
    {"cli"},
    {"commands", "ui"},
    {"__main__", "__init__"},
]
"""Lower layers first. A module may import its own package, its layer and those below."""


def layer_of(module: str) -> int:
    return next(level for level, names in enumerate(LAYERS) if module in names)


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


def test_every_module_imports_only_its_layer_and_those_below():
    for path in (ROOT / "workbench").rglob("*.py"):
        module = path.relative_to(ROOT / "workbench").parts[0].removesuffix(".py")
        for imported in imported_modules(path):
            assert layer_of(imported) <= layer_of(module), f"{path} imports workbench.{imported}"


def test_importing_the_library_loads_nothing_heavy():
    heavy = ["gradio", "plotly", "lpips", "diffusers", "torchvision", "tensorboard", "wandb"]
    code = f"import sys, workbench; print([m for m in {heavy!r} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_no_file_grows_beyond_400_lines():
    for path in (ROOT / "workbench").rglob("*.py"):
        assert len(path.read_text().splitlines()) <= 400, path
