"""The probes of one clip in the Latents tab, as plain functions and as updates of the page."""

import json
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
from tab_parts import BUNNY, VISITOR, choices, jobs_in

from workbench.errors import ConfigError
from workbench.jobs.folders import JobFolders
from workbench.jobs.found_models import pick
from workbench.jobs.loaded import LoadedModel
from workbench.jobs.probe import probe_job
from workbench.jobs.queue import JobQueue
from workbench.models.registry import load_autoencoder
from workbench.steps import Progress, drain
from workbench.ui.cards import doing
from workbench.ui.clip import ClipPanel
from workbench.ui.probes import ProbesPanel
from workbench.ui.uploads import Uploads


def test_a_clip_is_probed_beside_white_noise_into_one_page(root: Path, tmp_path: Path) -> None:
    steps = probe_job(choices(resolution="128"), pick(["dct"], root)[0], load_autoencoder("dct"), tmp_path)
    reports: list[Progress] = []
    view = drain(steps, reports.append)
    assert {"robustness", "equivariance", "probe"} <= {report.stage for report in reports}
    assert "Robustness: piece 1 of 9" in [doing(SimpleNamespace(progress=(report, 0.0, None))) for report in reports]
    dct, noise = view.probed.spaces["dct"].figures, view.probed.spaces["white noise"].figures
    assert dct["viv"] < noise["viv"]
    assert dct["noise_1_psnr"] > 0
    assert "noise_1_psnr" not in noise
    page = view.page.read_text()
    assert "bunny.mp4" in page
    assert str(tmp_path) not in page
    assert json.loads((tmp_path / "probes.json").read_text())["clips"] == 1


def test_latents_alone_are_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="drop the clip"):
        drain(probe_job(choices("a.safetensors"), pick(["dct"], root)[0], load_autoencoder("dct"), tmp_path))


def test_the_panel_shows_the_table_and_gives_the_page(root: Path, tmp_path: Path) -> None:
    with gr.Blocks():
        clip = ClipPanel(Uploads(tmp_path / "uploads"))
        clip.lay_out_details("cpu")
        model = gr.Dropdown(["dct"])
        panel = ProbesPanel(JobFolders(tmp_path / "jobs"), JobQueue(), LoadedModel(), root, clip, model)
    last = list(panel.run(VISITOR, "dct", *vars(choices(BUNNY)).values()))[-1]
    assert "VIV" in last[panel.table]
    assert last[panel.plots[0]].data
    assert Path(last[panel.download]["value"]).is_file()
    assert len(jobs_in(tmp_path)) == 1
    last = list(panel.run(VISITOR, "dct", *vars(choices(None)).values()))[-1]
    assert "drop a clip" in last[panel.panel.notice]
