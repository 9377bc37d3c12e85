"""Builds the page from its tabs and serves it."""

import gc
import os
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when Gradio is imported: nothing is sent anywhere
os.environ["GRADIO_DEFAULT_CONCURRENCY_LIMIT"] = "none"  # said by `Blocks.queue()`, it would build all routes once more

import gradio as gr

from workbench.devices import pick_device
from workbench.errors import ConfigError
from workbench.jobs.folders import JobFolders
from workbench.jobs.loaded import LoadedModel
from workbench.jobs.queue import JobQueue
from workbench.jobs.shelf import Shelf
from workbench.media.files import EXAMPLES
from workbench.ui.about import AboutTab
from workbench.ui.api import Api
from workbench.ui.clip import ClipPanel
from workbench.ui.components import SILENT
from workbench.ui.faults import FaultsTab
from workbench.ui.latents import LatentsTab
from workbench.ui.probes import ProbesPanel
from workbench.ui.run import RunPanel
from workbench.ui.settings import AppSettings
from workbench.ui.shelf import ShelfFunctions, part_of_page, scripts, styles
from workbench.ui.shipped import SHIPPED
from workbench.ui.tiles import TilesTab
from workbench.ui.training import TrainingTab
from workbench.ui.uploads import Uploads
from workbench.ui.visitors import HEAD

TITLE = "Video Autoencoder Workbench"
_CLEAN_EVERY_S, _KEEP_UPLOADS_S = 3600, 24 * 3600


def build_app(settings: AppSettings, temporary: Path, queue: JobQueue) -> gr.Blocks:
    """The page. `temporary` is Gradio's own folder for uploads; jobs get theirs inside, so that it serves them as is.

    Raises:
        ConfigError: the root is not a folder, or the device is not there.
    """
    root = settings.root_folder
    if settings.device not in (None, "cpu"):
        pick_device(settings.device)
    shelf = Shelf(temporary / "shelf", queue, settings.disk_gb * 1e9)
    uploads, model = Uploads(temporary), LoadedModel()
    with gr.Blocks(
        title=TITLE, analytics_enabled=False, fill_width=True, delete_cache=(_CLEAN_EVERY_S, _KEEP_UPLOADS_S)
    ) as page:
        gr.Markdown(f"# {TITLE}\nDrop a clip: see what an autoencoder keeps of it, and what it loses.", elem_id="title")
        with gr.Row(elem_id="bench"):
            with gr.Column(elem_id="inputs", min_width=240):
                clip = ClipPanel(uploads)
                clip.wire(page)
                run = RunPanel(clip, shelf, uploads, model, root)
                clip.lay_out_details(settings.device)
                run.wire(page)
            with gr.Column(elem_id="results", min_width=300):
                functions = ShelfFunctions(shelf, JobFolders(temporary / "bundles"))
                part_of_page("shelf", server_functions=functions.all)
                with gr.Tabs() as tabs:
                    with gr.Tab("Player"):
                        player = part_of_page("player")
                        part_of_page("table")
                    with gr.Tab("Tiles"):
                        tiles = TilesTab(JobFolders(temporary / "tiles"), queue, model, root, clip)
                    with gr.Tab("Latents"):
                        latents = LatentsTab(JobFolders(temporary / "latents"), queue, model, root, clip)
                        folders = JobFolders(temporary / "probes")
                        probes = ProbesPanel(folders, queue, model, root, clip, latents.model)
                    with gr.Tab("Faults"):
                        faults = FaultsTab(JobFolders(temporary / "faults"), queue, root, clip, run.labels)
                    with gr.Tab("Training") as runs:
                        training = TrainingTab(JobFolders(temporary / "samples"), root, runs)
                    with gr.Tab("About") as about:
                        AboutTab(root, about)
        tiles.wire(page, tabs)
        player.frame(tiles.follow, None, tiles.at, **SILENT)
        player.frame(latents.follow, latents.view, latents.frame, **SILENT)
        api = Api(JobFolders(temporary / "api"), queue, model, temporary, root)
        panels = tiles.panel, latents.panel, probes.panel, faults.panel
        for left in (api.left, *(panel.left for panel in panels), training.left, uploads.left):
            page.unload(left)
    return page


def theme() -> gr.themes.Base:
    """One font, one accent (white on it: 6.3 to 1), greys without a tint."""
    font = gr.themes.utils.fonts.LocalFont(
        "IBM Plex Sans", weights=(400, 700)
    )  # Gradio's file of 600 has a few letters only
    accent = {"button_primary_background_fill": "#4f46e5", "button_primary_background_fill_hover": "#4338ca"}
    return gr.themes.Base(primary_hue="indigo", neutral_hue="zinc", font=[font, "system-ui", "sans-serif"]).set(
        **accent, **{f"{name}_dark": value for name, value in accent.items()}, button_primary_text_color="#fff"
    )


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
    queue = JobQueue(settings.jobs_at_once)
    with TemporaryDirectory(prefix="workbench-", ignore_cleanup_errors=True) as temporary:
        os.environ["GRADIO_TEMP_DIR"] = temporary
        _reach_directly(settings.host)
        page = build_app(settings, Path(temporary), queue)
        gc.freeze()
        gc.enable()  # app.py turned it off
        try:
            page.launch(
                server_name=settings.host,
                server_port=settings.port,
                share=settings.share,
                max_file_size=f"{settings.max_upload_mb}mb",
                allowed_paths=[str(EXAMPLES), str(SHIPPED)],
                theme=theme(),
                css_paths=styles(),
                head=HEAD + scripts(),
                footer_links=["api", "gradio", "settings"],
                run_history=False,  # it would keep inputs and results in the browser, or at the Hub
            )
        except OSError:
            where = f"`host` {settings.host} `port` {settings.port}"
            raise ConfigError(f"{where}: cannot listen there, the port is taken or the address is not ours") from None
        finally:
            queue.close()
