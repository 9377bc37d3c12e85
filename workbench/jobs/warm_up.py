"""What the first job of an app would wait for, done before it."""

from pathlib import Path
from tempfile import TemporaryDirectory

from workbench.jobs.choices import Choices
from workbench.jobs.finish import finish_job
from workbench.jobs.loaded import LoadedModel
from workbench.jobs.reconstruct import reconstruct_job
from workbench.media.files import EXAMPLES
from workbench.models.catalogue import DEFAULT_MODEL
from workbench.models.ref import ModelRef
from workbench.steps import Progress, Steps


def warm_up(model: LoadedModel, device: str) -> Steps[None]:
    """A small job with the first model, LPIPS included, whose result nobody sees: code is imported, weights are loaded,
    and the processor's libraries have begun their threads."""
    entry = ModelRef(DEFAULT_MODEL)
    ae = model.load(entry, device)
    yield Progress("load", 1, 1)
    with TemporaryDirectory(prefix="workbench-") as folder:
        choices = Choices(str(EXAMPLES / "bunny.mp4"), device, max_frames=8, resolution="64")
        result = yield from reconstruct_job(choices, entry, ae, Path(folder))
        yield from finish_job(result, device)
