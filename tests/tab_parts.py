"""What tests of several tabs share: a tab on its own, and a visitor's choices."""

from pathlib import Path
from types import SimpleNamespace

import gradio as gr

from workbench.jobs.folders import JobFolders
from workbench.jobs.shelf import ModelShelf
from workbench.ui.clip_inputs import EXAMPLES, choices_of
from workbench.ui.uploads import Uploads

BUNNY = str(EXAMPLES / "bunny.mp4")
VISITOR = SimpleNamespace(session_hash="a")
SMALL = "video_dc_ae@weights/small.safetensors"


def make(kind, tmp_path: Path, root: Path):
    with gr.Blocks():
        return kind(JobFolders(tmp_path / "jobs"), Uploads(tmp_path / "uploads"), ModelShelf(), root, "cpu")


def choices(source: str = BUNNY, max_frames: int = 8, resolution: str = "64", **changes):
    return choices_of(source, max_frames, resolution, "cpu", **changes)


def jobs_in(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "jobs").glob("*"))
