"""Builds the page from its tabs and serves it."""

import gc
import os
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when Gradio is imported: nothing is sent anywhere

from workbench.ui.quick_import import without_stubs

with without_stubs():
    import gradio as gr

from workbench.devices import pick_device
from workbench.errors import ConfigError
from workbench.jobs.folders import JobFolders
from workbench.jobs.shelf import ModelShelf
from workbench.ui.about import AboutTab
from workbench.ui.clip_inputs import EXAMPLES
from workbench.ui.compare import CompareTab
from workbench.ui.job_panel import JOBS_AT_ONCE
from workbench.ui.latents import LatentsTab
from workbench.ui.reconstruct import ReconstructTab
from workbench.ui.settings import AppSettings
from workbench.ui.tiles import TilesTab
from workbench.ui.training import TrainingTab
from workbench.ui.uploads import Uploads

TITLE = "Video Autoencoder Workbench"
_CSS = Path(__file__).parent / "assets" / "app.css"
_WAITING_JOBS = 16
_CLEAN_EVERY_S, _KEEP_UPLOADS_S = 3600, 24 * 3600


def build_app(settings: AppSettings, temporary: Path) -> gr.Blocks:
    """The page. `temporary` is Gradio's own folder for uploads; jobs get theirs inside, so that it serves them as is.

    Raises:
        ConfigError: the root is not a folder, or the device is not there.
    """
    root, _ = settings.root_folder, pick_device(settings.device)
    folders, uploads, models = JobFolders(temporary / "jobs"), Uploads(temporary), ModelShelf()
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(_CLEAN_EVERY_S, _KEEP_UPLOADS_S)) as page:
        gr.Markdown(f"# {TITLE}\nDrop a clip, and see what an autoencoder keeps of it and what it loses.")
        with gr.Tabs():
            with gr.Tab("Reconstruct"):
                reconstruct = ReconstructTab(folders, uploads, models, root, settings.device)
            with gr.Tab("Compare"):
                compare = CompareTab(JobFolders(temporary / "compare"), uploads, models, root, settings.device)
            with gr.Tab("Tiles"):
                tiles = TilesTab(JobFolders(temporary / "tiles"), uploads, models, root, settings.device)
            with gr.Tab("Latents"):
                latents = LatentsTab(JobFolders(temporary / "latents"), uploads, models, root, settings.device)
            with gr.Tab("Training"):
                training = TrainingTab(JobFolders(temporary / "samples"), root)
            with gr.Tab("About") as about:
                AboutTab(root, about)
        for tab in (reconstruct, compare, tiles, latents):
            page.unload(tab.panel.left)
        for left in (training.left, uploads.left):
            page.unload(left)
    return page.queue(max_size=_WAITING_JOBS, default_concurrency_limit=2 * JOBS_AT_ONCE)


def _reach_directly(host: str) -> None:
    """Keep a proxy out of Gradio's requests to its own server, with which a launch begins."""
    for name in ("NO_PROXY", "no_proxy"):
        hosts = [os.environ.get(name), "127.0.0.1", "localhost", host]
        os.environ[name] = ",".join(filter(None, hosts))


def launch(settings: AppSettings) -> None:
    """Serve the app until it is stopped; uploads and results go with it.

    Raises:
        ConfigError: a setting is not possible here, or the port is taken.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the folder below is removed
    with TemporaryDirectory(prefix="workbench-") as temporary:
        os.environ["GRADIO_TEMP_DIR"] = temporary
        _reach_directly(settings.host)
        page = build_app(settings, Path(temporary))
        gc.freeze()
        gc.enable()  # app.py turned it off
        try:
            page.launch(
                server_name=settings.host,
                server_port=settings.port,
                share=settings.share,
                max_file_size=f"{settings.max_upload_mb}mb",
                allowed_paths=[str(EXAMPLES)],
                css_paths=_CSS,
                footer_links=["api", "gradio", "settings"],
                run_history=False,  # it would keep inputs and results in the browser, or at the Hub
            )
        except OSError as error:
            raise ConfigError(f"`host` {settings.host} `port` {settings.port}: cannot listen there ({error})") from None
