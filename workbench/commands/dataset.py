"""What commands over a data set share: its clips, and the model together with what it is."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from workbench.cli import Command, flag_words
from workbench.commands.inputs import find_inputs
from workbench.commands.settings import ModelSettings
from workbench.config import setting
from workbench.devices import pick_dtype
from workbench.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from workbench.models.auto import Choice
    from workbench.models.base import Autoencoder
    from workbench.ranks import World
    from workbench.tile_settings import Tiling


@dataclass(frozen=True)
class DatasetSettings:
    """The clips."""

    data_path: str | None = setting(None, "index of the clips (.csv or .parquet), or a folder of videos and photos")

    def clips(self) -> list[Path]:
        """The files, each once.

        Raises:
            ConfigError: no data set is given.
            MediaError: there is no clip in it.
        """
        if self.data_path is None:
            raise ConfigError("`dataset.data_path` is needed: an index (.csv or .parquet), or a folder of clips")
        found = find_inputs([self.data_path])
        each_once = list(dict.fromkeys(found))
        if len(each_once) < len(found):
            more = len(found) - len(each_once)
            line = f"{self.data_path}: {more} of {len(found)} rows name a clip again; each is taken once"
            print(line, file=sys.stderr)
        return each_once


class ClipBar(tqdm):
    """Progress over this rank's clips, shown on rank 0; clips that are left out are named on all."""

    def __init__(self, world: "World", command: Command) -> None:
        self._command = command  # whose flags the reasons name
        self._way: Tiling | None = None
        super().__init__(unit="clip", dynamic_ncols=True, disable=not world.is_main)

    def show(self, failure: str | None, choice: "Choice | None", done: int, total: int) -> None:
        """One more clip is done, or left out for this reason; a way that was chosen is told where it changes."""
        self.total = total
        self.update(done - self.n)
        if failure is not None:
            tqdm.write(f"left out: {flag_words(failure, self._command)}", file=sys.stderr)
        if choice is not None and choice.reason is not None and choice.tiling != self._way:
            self._way = choice.tiling
            tqdm.write(flag_words(choice.reason, self._command), file=sys.stderr)


def load_identified(
    model: ModelSettings, device: "torch.device", dtype: str | None
) -> tuple["Autoencoder", dict[str, Any]]:
    """A model ready for inference, and its identity, which depends neither on the device nor on the type.

    Raises:
        ConfigError: it has another decoder, which makes no latents; or it cannot be cut in this way.
        WeightsError: weights are missing or do not fit.
    """
    from workbench.models.identity import identity_of
    from workbench.models.plans import check_tiling

    if model.decoder is not None:
        raise ConfigError("`model.decoder`: latents are made without it; give it to decode")
    ae = model.load("cpu", "float32")
    check_tiling(ae, model)
    identity = identity_of(ae)
    return ae.to(device, pick_dtype(dtype, device)), identity
