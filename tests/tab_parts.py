"""What tests of the app share: its parts on their own, and a visitor's choices."""

from pathlib import Path
from types import SimpleNamespace

import gradio as gr

from workbench.jobs.choices import Choices
from workbench.jobs.folders import JobFolders
from workbench.jobs.loaded import LoadedModel
from workbench.jobs.queue import JobQueue
from workbench.jobs.shelf import Shelf
from workbench.media.files import EXAMPLES
from workbench.ui.clip import ClipPanel
from workbench.ui.run import RunPanel
from workbench.ui.uploads import Uploads

BUNNY = str(EXAMPLES / "bunny.mp4")
SMALL = "video_dc_ae@weights/small.safetensors"


def visitor(name: str) -> SimpleNamespace:
    """A request of a visitor's without a cookie."""
    return SimpleNamespace(session_hash=name, request=None)


VISITOR = visitor("a")


def make_tab(kind, tmp_path: Path, root: Path):
    """A tab that works on the page's clip; its jobs end with the test."""
    with gr.Blocks():
        clip = ClipPanel(Uploads(tmp_path / "uploads"))
        clip.lay_out_details("cpu")
        return kind(JobFolders(tmp_path / "jobs"), JobQueue(), LoadedModel(), root, clip)


def make_run(tmp_path: Path, root: Path, **limits) -> RunPanel:
    """What puts jobs on a shelf."""
    with gr.Blocks():
        uploads = Uploads(tmp_path)
        clip = ClipPanel(uploads)
        return RunPanel(clip, Shelf(tmp_path / "jobs", JobQueue(), **limits), uploads, LoadedModel(), root)


def choices(source: Path | str | None = BUNNY, **changes) -> Choices:
    return Choices(**{"source": source and str(source), "max_frames": 8, "resolution": "64"} | changes)


def folders_in(root: Path) -> list[Path]:
    return [path for path in root.glob("*") if path.is_dir()]


def jobs_in(tmp_path: Path) -> list[Path]:
    return folders_in(tmp_path / "jobs")
