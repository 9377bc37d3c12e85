"""Imports point one way, nothing heavy is imported with the library, and files stay small."""

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GROUND = [
    "words",
    "errors",
    "steps",
    "allocator",
    "config",
    "files",
    "records",
    "devices",
    "counting",
    "finite",
    "memory",
]
"""The ground floor, from below: a room may import what stands before it, and any room above may import it."""

MAY_IMPORT = {
    "tile_settings": "",
    "tiling": "",
    "stages": "tiling",
    "media": "",
    "metrics": "media.video",
    "ranks": "",
    "faults": "",
    "models": "tile_settings tiling stages media.video ranks faults",
    "vision": "metrics models",
    "data": "media",
    "check": "faults media metrics.psnr models",
    "compare": "tiling metrics.measure",
    "roundtrip": "tile_settings media metrics ranks models compare.side_by_side",
    "suite": "tile_settings tiling media metrics models compare roundtrip",
    "evaluate": "tile_settings media metrics ranks models compare roundtrip suite.page",
    "latents": "tile_settings media ranks models",
    "probe": "tile_settings tiling media metrics ranks models vision compare latents.clips",
    "training": "media metrics ranks models vision data",
    "bench": "tile_settings metrics models",
    "course": "tile_settings tiling stages media models data compare",
    "fetch": "metrics models",
    "jobs": "tile_settings tiling stages media metrics ranks models compare roundtrip latents probe suite",
    "cli": "",
    "commands": "tile_settings media metrics ranks models data check compare roundtrip suite evaluate latents probe"
    " bench fetch jobs cli",
    "ui": "tile_settings media metrics models compare roundtrip.progress suite training.runs probe jobs",
    "__main__": "cli commands",
    "__init__": "",
}
"""The rooms above, each with all that it may import beside its own modules and the ground floor: a room, or one module
of it. Each stands above what it names."""

ONLY_IN = {
    "gradio": "ui",
    "fire": "cli",
    "plotly": "compare probe suite course ui",
    "pyarrow": "data media.index",
    "av": "media evaluate.reencode",
    "diffusers": "models.diffusers_adapter models.wan_streams",
    "torch.distributed": "ranks training.distributed training.state training.checkpoint training.checkpoint_reader"
    " training.ema",
    "lpips": "",
    "torchvision": "",
}
"""Libraries that one room hides from all others. Nothing needs the last two: tests of LPIPS do, as references."""

MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in (ROOT / "workbench").rglob("*.py")}


def imports_of(module: str) -> set[str]:
    """All that a module imports, at its top or later, by full names; of packages the module inside."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            inside = {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys()
            found |= inside or {node.module}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def is_under(module: str, names: Iterable[str]) -> bool:
    return any(f"{module}.".startswith(f"{name}.") for name in names)


def may_import(module: str, other: str) -> bool:
    """Whether a module of `workbench` may import another; both by their names in it."""
    room = module.split(".")[0]
    if room in GROUND:
        return is_under(other, GROUND[: GROUND.index(room) + 1])
    return is_under(other, [room, *GROUND, *MAY_IMPORT[room].split()])


def test_every_module_imports_only_what_its_room_may():
    for module in MODULES:
        name = module.removeprefix("workbench.")
        for other in imports_of(module):
            if other.startswith("workbench."):
                assert may_import(name, other.removeprefix("workbench.")), f"{module} imports {other}"
            library = next((known for known in ONLY_IN if is_under(other, [known])), None)
            assert library is None or is_under(name, ONLY_IN[library].split()), f"{module} imports {other}"


def test_rooms_stand_above_what_they_may_import_and_no_two_modules_lean_on_each_other():
    rooms = [*GROUND, *MAY_IMPORT]
    for room, names in MAY_IMPORT.items():
        assert {name.split(".")[0] for name in names.split()} <= {*rooms[: rooms.index(room)]}, room
    graph = {module: imports_of(module) & MODULES.keys() for module in MODULES}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError


@pytest.mark.parametrize(
    ("module", "other"),
    [
        ("metrics.lpips", "models.registry"),  # for a device or a type
        ("models.weights", "media.writer"),  # for a file that is whole or not there
        ("media.index", "compare.tables"),  # for a table
        ("bench.run", "training.estimate"),  # for operations counted
        ("evaluate.store", "data.loader"),  # for what is done already
        ("roundtrip.clip", "data.clips"),  # for frames to take and their size
        ("models.base", "evaluate.settings"),  # for which model is meant
        ("evaluate.run", "training.distributed"),  # for what ranks give each other
        ("jobs.reconstruct", "ui.cards"),
        ("jobs.clip", "commands.reconstruct"),
        ("commands.reconstruct_files", "ui.labels"),
        ("roundtrip.clip", "evaluate.clip"),
        ("training.losses", "course.pictures"),
        ("config", "cli"),
    ],
)
def test_arrows_that_once_ran_upward_would_be_seen(module, other):
    assert f"workbench.{module}" in MODULES
    assert f"workbench.{other}" in MODULES
    assert not may_import(module, other)


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


def test_the_page_is_there_before_torch():
    """Its import, and those of PyAV and plotly, would take a third of the time until the page answers."""
    code = """import sys, tempfile
from pathlib import Path
from workbench.jobs.queue import JobQueue
from workbench.ui.launch import build_app
from workbench.ui.settings import AppSettings
build_app(AppSettings(device="cpu"), Path(tempfile.gettempdir()), JobQueue())
sys.exit(any(name in sys.modules for name in ("torch", "av", "plotly")))"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_callbacks_use_all_that_is_imported_late_for_them():
    ui = ROOT / "workbench/ui"
    late = ast.parse((ui / "work_imports.py").read_text())
    given = {alias.name for node in late.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    used = {
        node.attr
        for path in ui.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "work"
    }
    assert given == used


def test_no_file_grows_beyond_400_lines():
    for path in (ROOT / "workbench").rglob("*.py"):
        assert len(path.read_text().splitlines()) <= 400, path
