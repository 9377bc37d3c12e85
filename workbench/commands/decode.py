"""`python -m workbench decode`: a folder of latents back to videos."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.cli import Command
from workbench.commands.dataset import ClipBar, load_identified
from workbench.commands.settings import MODEL_ALIASES, ModelSettings
from workbench.config import setting
from workbench.devices import DEVICE_HELP, DTYPE_HELP
from workbench.errors import ConfigError
from workbench.models.ref import parse_model
from workbench.tile_settings import MODES, Tiling
from workbench.words import counted

if TYPE_CHECKING:
    from workbench.latents.folder import LatentFolder


_AS = "by default as in encoding"


@dataclass(frozen=True)
class DecodeModel:
    """The model, if not loaded as it was for encoding, and how it is run: by default as in encoding."""

    name: str | None = setting(None, "the autoencoder, where it has another name or place now than when it encoded")
    from_pretrained: str | None = setting(None, "its weights, where they are in another place now")
    decoder: str | None = setting(None, "decode with another model of the same latents: NAME or NAME@WEIGHTS")
    use_spatial_tiling: bool | None = setting(None, f"cut frames into tiles; {_AS}")
    use_temporal_tiling: bool | None = setting(None, f"cut the clip into runs of frames; {_AS}")
    spatial_tile_size: int | None = setting(None, f"side of a tile in pixels; {_AS}")
    temporal_tile_size: int | None = setting(None, f"frames of a tile; {_AS}")
    tile_overlap_factor: float | None = setting(None, f"share of a tile that overlaps the next one; {_AS}")
    tiling_mode: str | None = setting(None, f"{', '.join(MODES)}; {_AS}")
    push_frames: int | None = setting(None, f"latents that streamed layers take at once; {_AS}, or the model's own")
    memory_gb: float | None = setting(
        None, "memory that `tiling_mode` auto may use, 10^9 bytes; by default what is free"
    )

    @property
    def changes(self) -> dict[str, Any]:
        """What is said here of how to run the model; who names the size of a tile wants tiles of it."""
        given = {name: getattr(self, name) for name in Tiling.__dataclass_fields__}
        for side in ("spatial", "temporal"):
            if given[f"{side}_tile_size"] is not None and given[f"use_{side}_tiling"] is None:
                given[f"use_{side}_tiling"] = True
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True)
class DecodeConfig:
    """Settings of `python -m workbench decode`."""

    model: DecodeModel = DecodeModel()
    save_dir: str = setting("decoded", "folder for the videos, one file a clip")
    lossless: bool = setting(False, "write bit-exact FFV1 (.mkv) instead of H.264 (.mp4)")
    device: str | None = setting(None, DEVICE_HELP)
    dtype: str | None = setting(None, DTYPE_HELP)


def run_decode(config: DecodeConfig, *words: str) -> None:
    """Write the video of every clip in a folder of latents."""
    if len(words) != 1:
        raise ConfigError("give one folder of latents: python -m workbench decode LATENTS_DIR --save_dir OUT")
    from workbench.latents.decode import check_model, decode_dataset, decoding_tiling, open_latents
    from workbench.models.plans import check_tiling
    from workbench.models.registry import paired
    from workbench.ranks import lockstep

    folder = open_latents(Path(words[0]).expanduser())
    tiling = decoding_tiling(folder, config.model.changes)
    with lockstep(config.device) as ranks:
        ae, identity = load_identified(_model(config.model, folder), ranks.world.device, config.dtype)
        check_model(folder, identity)
        if config.model.decoder is not None:
            decoder = parse_model(config.model.decoder, "model.decoder")
            ae = paired(ae, decoder.load(ranks.world.device, config.dtype))
        check_tiling(ae.decoding_model, tiling)
        save_dir = Path(config.save_dir).expanduser()
        with ClipBar(ranks.world, COMMAND) as bar:
            count = decode_dataset(ae, folder, save_dir, tiling, ranks.world, config.lossless, bar.show)
    if ranks.world.is_main:
        print(f"{config.save_dir}: {counted(count, 'clip')}")
        if pending := folder.count_pending():
            print(f"{pending} more in {folder.path} are not in a shard yet: run the same encode command to its end")


def _model(asked: DecodeModel, folder: "LatentFolder") -> ModelSettings:
    """The model as it was loaded for encoding, or from where the user says that it is now."""
    recorded = ModelSettings(**folder.recorded["load"])
    if asked.name is not None:
        return replace(recorded, name=asked.name, from_pretrained=asked.from_pretrained)
    return replace(recorded, from_pretrained=asked.from_pretrained or recorded.from_pretrained)


COMMAND = Command(
    "Decode a folder of latents back to videos.",
    DecodeConfig(),
    run_decode,
    words="LATENTS_DIR",
    aliases=MODEL_ALIASES,
)
