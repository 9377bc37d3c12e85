"""`python -m workbench decode`: a folder of latents back to videos."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.cli import Command
from workbench.commands.dataset import ClipBar, load_identified
from workbench.commands.settings import MODEL_ALIASES, ModelSettings
from workbench.config import check_range, setting
from workbench.devices import DEVICE_HELP, DTYPE_HELP
from workbench.errors import ConfigError
from workbench.models.ref import parse_model
from workbench.tile_settings import Tiling
from workbench.words import counted

if TYPE_CHECKING:
    from workbench.latents.folder import LatentFolder


@dataclass(frozen=True)
class DecodeModel:
    """The model, if not loaded as it was for encoding, and smaller tiles."""

    name: str | None = setting(None, "the autoencoder, where it has another name or place now than when it encoded")
    from_pretrained: str | None = setting(None, "its weights, where they are in another place now")
    decoder: str | None = setting(None, "decode with another model of the same latents: NAME or NAME@WEIGHTS")
    spatial_tile_size: int | None = setting(None, "side of a tile in pixels; by default as in encoding")
    temporal_tile_size: int | None = setting(None, "frames of a tile; by default as in encoding")

    def __post_init__(self) -> None:
        for name in ("spatial_tile_size", "temporal_tile_size"):
            if getattr(self, name) is not None:
                check_range(f"model.{name}", getattr(self, name), 1)


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
    from workbench.latents.decode import check_model, decode_dataset, open_latents
    from workbench.models.registry import paired
    from workbench.ranks import lockstep

    folder = open_latents(Path(words[0]).expanduser())
    with lockstep(config.device) as ranks:
        ae, identity = load_identified(_model(config.model, folder), ranks.world.device, config.dtype)
        check_model(folder, identity)
        if config.model.decoder is not None:
            decoder = parse_model(config.model.decoder, "model.decoder")
            ae = paired(ae, decoder.load(ranks.world.device, config.dtype))
        tiling, save_dir = _tiling(config.model, folder), Path(config.save_dir).expanduser()
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


def _tiling(asked: DecodeModel, folder: "LatentFolder") -> Tiling:
    """The tiles of the encoding, smaller or larger where the user says so."""
    from workbench.latents.decode import recorded_tiling

    tiling = recorded_tiling(folder)
    if asked.spatial_tile_size is not None:
        tiling = replace(tiling, use_spatial_tiling=True, spatial_tile_size=asked.spatial_tile_size)
    if asked.temporal_tile_size is not None:
        tiling = replace(tiling, use_temporal_tiling=True, temporal_tile_size=asked.temporal_tile_size)
    return tiling


COMMAND = Command(
    "Decode a folder of latents back to videos.",
    DecodeConfig(),
    run_decode,
    words="LATENTS_DIR",
    aliases=MODEL_ALIASES,
)
