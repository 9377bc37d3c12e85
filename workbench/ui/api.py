"""The app for programs: functions with typed arguments that give files and figures, and raise what went wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.data_classes import FileData

from workbench.errors import ConfigError, WorkbenchError
from workbench.jobs.choices import Choices
from workbench.jobs.folders import JobFolders
from workbench.jobs.loaded import LoadedModel
from workbench.jobs.queue import DONE, Job, JobQueue
from workbench.media.files import EXAMPLES
from workbench.steps import Steps
from workbench.ui import work
from workbench.ui.labels import explainer

if TYPE_CHECKING:
    from workbench.jobs.reconstruct import JobResult


class Api:
    """Endpoints of the page around it. A session keeps the files of its last call until it leaves.

    Args:
        uploads: Gradio's folder for uploads: with the shipped examples all that may be read.
        root: the folder under which models are looked for.
    """

    def __init__(self, folders: JobFolders, queue: JobQueue, model: LoadedModel, uploads: Path, root: Path) -> None:
        self._folders, self._queue, self._model = folders, queue, model
        self._uploads, self._root = uploads, root
        self._running: dict[str, Job] = {}
        for endpoint in (self.reconstruct, self.compare, self.latents, self.seams):
            gr.api(endpoint, api_name=endpoint.__name__)

    def reconstruct(
        self,
        clip: FileData,
        request: gr.Request,
        model: str = "tiny",
        max_frames: int = 0,
        resolution: str = "",
        device: str = "cpu",
        mode: str = "",
        tile_side: int = 0,
        tile_frames: int = 0,
        overlap: float = 0.25,
    ) -> tuple[dict, dict]:
        """Reconstruct a clip. Gives files (reconstruction, side_by_side, metrics_csv, metrics_json, report) and
        figures: rate, seconds, and of every metric its mean, median, one in twenty and worst.
        """
        values = (device, max_frames, resolution, mode, tile_side, tile_frames, overlap)
        choices = Choices(self._path_of(clip), *values)
        result = self._run(request, choices, lambda folder: self._one(choices, model, folder), work.STAGES)
        return _files(result.downloads), work.result_row(result)

    def compare(
        self,
        clip: FileData,
        request: gr.Request,
        models: list[str] = ["tiny", "dct"],  # noqa: B006  Gradio shows it as the default, nobody changes it
        max_frames: int = 0,
        resolution: str = "",
        device: str = "cpu",
    ) -> tuple[dict, dict]:
        """Several models on one clip. Gives files (results_csv, frames_csv, results_json, report, comparison), and the
        figures of each model by its name.
        """
        choices = Choices(self._path_of(clip), device, max_frames, resolution)
        stages = work.STAGES * len(models)
        files, results = self._run(request, choices, lambda folder: self._each(choices, models, folder), stages)
        return _files(files), {result.label: work.result_row(result) for result in results}

    def latents(
        self,
        clip: FileData,
        request: gr.Request,
        model: str = "tiny",
        max_frames: int = 0,
        resolution: str = "",
        device: str = "cpu",
    ) -> tuple[dict, dict]:
        """What a clip becomes inside a model: a file, as `python -m workbench encode` writes it, and facts."""
        choices = Choices(self._path_of(clip), device, max_frames, resolution)

        def steps(folder: Path) -> Steps[Any]:
            entry = work.pick([model], self._root)[0]
            return (yield from work.encode_job(choices, entry, self._model.load(entry, device), folder))

        view = self._run(request, choices, steps, 1)
        facts = {"model": view.model, "shape": list(view.latents.shape), "mean": view.latents.mean().item()}
        return _files({"latents": view.file}), facts | {"deviation": view.latents.std(correction=0).item()}

    def seams(
        self,
        clip: FileData,
        request: gr.Request,
        model: str = "tiny",
        max_frames: int = 16,
        resolution: str = "256",
        device: str = "cpu",
        tile_side: int = 0,
        tile_frames: int = 0,
        overlap: float = 0.25,
    ) -> dict:
        """Tiled against untiled, in grey levels: how far they differ, and jumps across tile borders and elsewhere."""
        values = (device, max_frames, resolution, "tiles", tile_side, tile_frames, overlap)
        choices = Choices(self._path_of(clip), *values)

        def steps(_: Path) -> Steps[Any]:
            ae = self._model.load(work.pick([model], self._root)[0], device)
            return (yield from work.seam_job(choices, ae, ["tiles"]))

        report = self._run(request, choices, steps, 4)
        facts = {"tiles": report.tiles, "frames": report.num_frames}
        if not report.rows:
            return facts
        seams = report.rows[-1].seams
        found = {"mean_difference": seams.map_HW.mean().item(), "most": seams.map_HW.max().item()}
        return facts | found | {axis: vars(jump) | {"ratio": jump.ratio} for axis, jump in seams.jumps.items()}

    def left(self, request: gr.Request) -> None:
        """The session ended: nobody waits for its job or its files."""
        job = self._running.pop(str(request.session_hash), None)
        if job:
            self._queue.cancel(job)
        self._folders.forget(request.session_hash)

    def _one(self, choices: Choices, label: str, folder: Path) -> Steps["JobResult"]:
        """A model on the clip, LPIPS included: nobody looks before it is there."""
        entry = work.pick([label], self._root)[0]
        ae = self._model.load(entry, choices.device)
        result = yield from work.reconstruct_job(choices, entry, ae, folder)
        return (yield from work.finish_job(result, choices.device))

    def _each(
        self, choices: Choices, labels: list[str], folder: Path
    ) -> Steps[tuple[dict[str, Path], list["JobResult"]]]:
        """One model after the other, each into a folder of its own; then what shows all of them."""
        results = []
        for index, label in enumerate(labels):
            at = folder / str(index)
            at.mkdir()
            results.append((yield from self._one(choices, label, at)))
        if not results:
            raise ConfigError("`model`: name one at least")
        grid = work.write_grid(results, folder)
        return work.write_tables(results, folder) | ({"comparison": grid} if grid else {}), results

    def _path_of(self, clip: Any) -> str:
        """What was uploaded, or an example; no other file of the server's."""
        path = Path(str(clip["path"] if isinstance(clip, dict) else clip.path)).resolve()
        if not any(path.is_relative_to(folder.resolve()) for folder in (self._uploads, EXAMPLES)):
            raise gr.Error("clip: send a file, as gradio_client's handle_file does")
        return str(path)

    def _run(self, request: gr.Request, choices: Choices, start: Callable[[Path], Steps[Any]], stages: int) -> Any:
        """The job's result, once its turn has come."""
        session = str(request.session_hash)
        job = Job(session, self._folders.new(), start, explainer(choices, self._root), stages)
        try:
            self._running[session] = self._queue.submit(job)
        except WorkbenchError as error:
            raise gr.Error(str(error)) from None
        job.ended.wait()
        if job.state != DONE:
            raise gr.Error(job.error or "cancelled", print_exception=False)
        self._folders.keep(session, job.folder)
        return job.result


def _files(files: dict[str, Path]) -> dict[str, Any]:
    return {name: FileData(path=str(path), orig_name=path.name).model_dump() for name, path in files.items()}
