"""The Faults tab, as updates of the page."""

from pathlib import Path

import gradio as gr
from tab_parts import VISITOR, choices, jobs_in

from workbench.jobs.folders import JobFolders
from workbench.jobs.queue import JobQueue
from workbench.ui.clip import ClipPanel
from workbench.ui.faults import FaultsTab
from workbench.ui.uploads import Uploads


def test_the_tab_shows_the_table_and_gives_the_page_without_any_clip(root: Path, tmp_path: Path) -> None:
    with gr.Blocks():
        clip = ClipPanel(Uploads(tmp_path / "uploads"))
        clip.lay_out_details("cpu")
        models = gr.Dropdown(["dct"], multiselect=True)
        tab = FaultsTab(JobFolders(tmp_path / "jobs"), JobQueue(), root, clip, models)
    last = list(tab.run(VISITOR, ["dct"], *vars(choices(None)).values()))[-1]
    assert "jumps at latents" in last[tab.table]
    assert last[tab.rounds].data
    assert "generation loss" in Path(last[tab.download]["value"]).read_text().lower()
    assert len(jobs_in(tmp_path)) == 1
    last = list(tab.run(VISITOR, [], *vars(choices(None)).values()))[-1]
    assert "choose a model" in last[tab.panel.notice]
