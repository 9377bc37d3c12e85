"""Video Autoencoder Workbench: reconstruct, train, inspect and compare video autoencoders."""

from workbench.errors import ConfigError, DataError, FileError, MediaError, ShapeError, WeightsError, WorkbenchError
from workbench.media.image import write_image
from workbench.media.info import MediaInfo
from workbench.media.policy import ClipPolicy
from workbench.media.reader import probe, read_video
from workbench.media.stream import open_stream
from workbench.media.video import Video
from workbench.media.writer import write_video
from workbench.models.base import Autoencoder
from workbench.models.registry import MODELS, build_autoencoder, load_autoencoder
from workbench.models.tiled import decode_tiled, encode_tiled
from workbench.outputs import Outputs
from workbench.ranks import Lockstep, lockstep
from workbench.reconstruct import FileReport, Reconstruction, reconstruct, reconstruct_file
from workbench.tiling import Tiling

__all__ = [
    "MODELS",
    "Autoencoder",
    "ClipPolicy",
    "ConfigError",
    "DataError",
    "FileError",
    "FileReport",
    "Lockstep",
    "MediaError",
    "MediaInfo",
    "Outputs",
    "Reconstruction",
    "ShapeError",
    "Tiling",
    "Video",
    "WeightsError",
    "WorkbenchError",
    "build_autoencoder",
    "decode_tiled",
    "encode_tiled",
    "load_autoencoder",
    "lockstep",
    "open_stream",
    "probe",
    "read_video",
    "reconstruct",
    "reconstruct_file",
    "write_image",
    "write_video",
]
