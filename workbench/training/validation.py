"""The validation pass: how well the averaged weights reconstruct clips, and the statistics of their latents."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from workbench.data.loader import ClipLoader
from workbench.files import write_errors
from workbench.media.image import write_image
from workbench.media.video import Video, to_uint8
from workbench.media.writer import write_video
from workbench.metrics.lpips import load_lpips_if_available, lpips
from workbench.metrics.psnr import psnr
from workbench.metrics.ssim import ssim
from workbench.models.latent_moments import LatentMoments
from workbench.ranks import World, agreed, reduce_mean
from workbench.training.config import TrainConfig
from workbench.training.networks import Networks
from workbench.training.step import autocast

SAMPLE_FPS = 12.0
_CLIPS_OF_TRAINING = 8


@dataclass(frozen=True)
class Validation:
    """What a pass gives.

    Attributes:
        figures: val_psnr (dB), val_ssim and, if its network is there, val_lpips, averaged over all clips.
        latents: moments per channel over the latents of all clips, for whoever trains a model on them.
        sample: uint8 frames_TCHW, a clip and its reconstruction side by side.
    """

    figures: dict[str, float]
    latents: LatentMoments
    sample: Tensor


class Validator:
    """Reconstructs the same clips in every pass, each once; ranks share them."""

    def __init__(self, nets: Networks, config: TrainConfig, world: World) -> None:
        """Raises DataError if the index is not usable, ConfigError if there is none."""
        self._nets, self._config, self._world = nets, config, world
        self._loader = _loader(config, nets, world)
        self._start = self._loader.state_dict()
        self._lpips = nets.lpips if nets.lpips is not None else load_lpips_if_available(world.device)
        limit = config.validation.clips or (None if config.validation.data_path else _CLIPS_OF_TRAINING)
        self._limit = limit or self._loader.steps_per_epoch * world.size

    def run(self) -> Validation:
        """A pass with the EMA weights; every rank calls this.

        Raises:
            DataError: on all ranks, too many clips cannot be read.
        """
        self._loader.load_state_dict(self._start)
        self._nets.autoencoder.eval()
        try:
            with self._nets.ema.applied(self._nets.autoencoder):
                return self._pass()
        finally:
            self._nets.autoencoder.train()
            self._loader.close()

    def _pass(self) -> Validation:
        totals: dict[str, Tensor] = {}
        moments = LatentMoments(self._nets.autoencoder.latent_channels)
        sample = None
        steps = min(-(-self._limit // self._world.size), self._loader.steps_per_epoch)
        for number in range(steps):
            with agreed(self._world):
                batch = next(self._loader)
            frames, latents = self._reconstruct(batch.pixels.to(self._world.device))
            sample = torch.cat(frames, dim=-1) if sample is None else sample
            counts = batch.num_new > 0 and number * self._world.size + self._world.rank < self._limit
            for name, value in ({"clips": torch.ones(())} | self._metrics(*frames)).items():
                totals[name] = totals.get(name, 0.0) + (value if counts else torch.zeros_like(value))
            if counts:
                moments.update(latents)
        means = reduce_mean(totals, self._world)
        clips = means.pop("clips")
        figures = {name: total / clips for name, total in means.items()}
        assert sample is not None, "a validation without a step"
        return Validation(figures, moments.over_ranks(), sample)

    def _reconstruct(self, clip: Tensor) -> tuple[list[Tensor], Tensor]:
        """uint8 frames_TCHW of a clip (1, 3, T, H, W) and of its reconstruction, and the latents."""
        with torch.no_grad(), autocast(self._config, self._world.device):
            output = self._nets.autoencoder(clip)
        return [to_uint8(x[0]).transpose(0, 1) for x in (clip, output.reconstruction)], output.latents

    def _metrics(self, original: Tensor, output: Tensor) -> dict[str, Tensor]:
        """Means over the frames of a clip, on 8-bit frames as everywhere."""
        values = {"val_psnr": psnr(original, output, 255.0).mean(), "val_ssim": ssim(original, output, 255.0).mean()}
        if self._lpips is not None:
            values["val_lpips"] = lpips(original, output, 255.0, self._lpips).mean()
        return values


def write_sample(sample: Tensor, path: Path) -> None:
    """Write a sample as `path`.mp4, or `path`.png for a single frame.

    Raises:
        FileError: it cannot be written.
    """
    with write_errors(path):
        path.parent.mkdir(exist_ok=True)
    if len(sample) == 1:
        write_image(sample[0], path.with_suffix(".png"))
    else:
        write_video(Video(sample.cpu(), SAMPLE_FPS), path.with_suffix(".mp4"))


def _loader(config: TrainConfig, nets: Networks, world: World) -> ClipLoader:
    """One clip a batch, every clip in the best bucket it fits; the index of the training where there is no other."""
    path = config.validation.data_path or config.dataset.data_path
    dataset = dataclasses.replace(config.dataset, data_path=path, random_crop=False, in_memory=False)
    buckets = {
        name: {frames: (float(probability > 0.0), 1) for frames, (probability, _) in by_frames.items()}
        for name, by_frames in config.bucket_config.items()
    }
    multiple = nets.autoencoder.spatial_stride
    return ClipLoader(
        dataset, buckets, spatial_multiple=multiple, seed=config.seed, rank=world.rank, world_size=world.size
    )
