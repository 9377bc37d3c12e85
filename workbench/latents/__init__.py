"""Latents of data sets: their statistics, and folders of them to train generators on, and back to video."""

from workbench.latents.clips import Normalisation, decode_clip, encode_clip, normalisation_of
from workbench.latents.decode import (
    check_model,
    decode_dataset,
    decoded_frames,
    model_latents,
    open_latents,
    recorded_tiling,
    stored_clips,
)
from workbench.latents.encode import EncodeReport, EncodeSettings, Encoding, encode_dataset
from workbench.latents.folder import LatentFolder
from workbench.latents.shards import LatentClip, Shard
from workbench.latents.statistics import StatisticsReport, gather_statistics

__all__ = [
    "EncodeReport",
    "EncodeSettings",
    "Encoding",
    "LatentClip",
    "LatentFolder",
    "Normalisation",
    "Shard",
    "StatisticsReport",
    "check_model",
    "decode_clip",
    "decode_dataset",
    "decoded_frames",
    "encode_clip",
    "encode_dataset",
    "gather_statistics",
    "model_latents",
    "normalisation_of",
    "open_latents",
    "recorded_tiling",
    "stored_clips",
]
