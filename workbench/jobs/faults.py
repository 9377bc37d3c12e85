"""The fault suite of the models that a visitor has chosen, for a page."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from workbench.errors import ConfigError
from workbench.files import write_text
from workbench.jobs.choices import Choices
from workbench.models.ref import ModelRef
from workbench.steps import Steps
from workbench.suite.page import PAGE, Models, suite_html
from workbench.suite.run import model_faults_steps, plain

ROUNDS = 4
"""Of decoding and encoding again: enough to see where it goes."""


@dataclass(frozen=True)
class FaultsView:
    """What was found, and the page that shows all of it and needs nothing else."""

    models: Models
    page: Path


def faults_job(choices: Choices, entries: Sequence[ModelRef], folder: Path) -> Steps[FaultsView]:
    """Run the suite on drawn clips, with the tiles that were chosen; the page goes into `folder`.

    Raises:
        ConfigError: no model is chosen, or a tile size is not legal.
        FileError: the page cannot be written.
    """
    if not entries:
        raise ConfigError("choose a model first")
    found = {}
    for entry in entries:
        ae = entry.load(choices.device)  # one of its own: its type changes on the way
        found[entry.label] = yield from model_faults_steps(ae, choices.tiling, ROUNDS)
    models, page = plain(found), folder / PAGE
    write_text(page, suite_html(models))
    return FaultsView(models, page)
