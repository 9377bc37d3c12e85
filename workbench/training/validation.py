"""The validation pass: how well the averaged weights reconstruct clips, and the statistics of their latents."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from workbench.data import ClipLoader
from workbench.media import Video, to_uint8, write_image, write_video
from workbench.metrics.lpips import lpips
from workbench.metrics.psnr import psnr
from workbench.metrics.ssim import ssim
from workbench.training.config import TrainConfig
from workbench.training.distributed import World, reduce_mean
from workbench.training.step import Networks, autocast

SAMPLE_FPS = 12.0


@dataclass(frozen=True)
class Validation:
    """What a pass gives.

    Attributes:
        figures: val_psnr (dB), val_ssim and, if its network is there, val_lpips, averaged over all clips.
        latent_mean, latent_std: per channel over all latents, for whoever trains a model on them.
        sample: uint8 frames_TCHW, a clip and its reconstruction side by side.
    """

    figures: dict[str, float]
    latent_mean: list[float]
    latent_std: list[float]
    sample: Tensor


@torch.no_grad()
def validate(nets: Networks, config: TrainConfig, world: World, lpips_network: nn.Module | None) -> Validation:
    """Reconstruct the same clips every time with the EMA weights; every rank calls this and has its share of them."""
    loader = _loader(config, nets, world)
    count = min(-(-config.validation.clips // world.size), loader.steps_per_epoch)
    totals: dict[str, Tensor] = {}
    sums = torch.zeros(3, nets.autoencoder.latent_channels, dtype=torch.float64)
    sample = None
    nets.autoencoder.eval()
    try:
        with nets.ema.applied(nets.autoencoder):
            for _ in range(count):
                clip = next(loader).pixels.to(world.device)
                with autocast(config, world.device):
                    output = nets.autoencoder(clip)
                frames = [to_uint8(x[0]).transpose(0, 1) for x in (clip, output.reconstruction)]
                sample = torch.cat(frames, dim=-1) if sample is None else sample
                for name, value in _metrics(*frames, lpips_network).items():
                    totals[name] = totals.get(name, 0.0) + value / count
                sums += _moments(output.latents)
    finally:
        nets.autoencoder.train()
        loader.close()
    mean, std = _mean_and_std(sums)
    return Validation(reduce_mean(totals, world), mean.tolist(), std.tolist(), sample)


def write_sample(sample: Tensor, path: Path) -> None:
    """Write a sample as `path`.mp4, or `path`.png for a single frame."""
    path.parent.mkdir(exist_ok=True)
    if len(sample) == 1:
        write_image(sample[0], path.with_suffix(".png"))
    else:
        write_video(Video(sample.cpu(), SAMPLE_FPS), path.with_suffix(".mp4"))


def _loader(config: TrainConfig, nets: Networks, world: World) -> ClipLoader:
    """One clip a batch, from the start of the validation index; the index of the training where there is none."""
    path = config.validation.data_path or config.dataset.data_path
    dataset = dataclasses.replace(config.dataset, data_path=path, random_crop=False)
    buckets = {
        name: {frames: (probability, 1) for frames, (probability, _) in by_frames.items()}
        for name, by_frames in config.bucket_config.items()
    }
    multiple = nets.autoencoder.spatial_stride
    return ClipLoader(
        dataset, buckets, spatial_multiple=multiple, seed=config.seed, rank=world.rank, world_size=world.size
    )


def _metrics(original: Tensor, output: Tensor, network: nn.Module | None) -> dict[str, Tensor]:
    """Means over the frames of a clip, on 8-bit frames as everywhere."""
    values = {"val_psnr": psnr(original, output, 255.0).mean(), "val_ssim": ssim(original, output, 255.0).mean()}
    if network is not None:
        values["val_lpips"] = lpips(original, output, 255.0, network).mean()
    return values


def _moments(latents: Tensor) -> Tensor:
    """Count, sum and sum of squares per channel of latents (B, C, t, h, w), in float64."""
    values = latents.double().transpose(0, 1).flatten(1).cpu()
    return torch.stack([torch.full((len(values),), values.shape[1]), values.sum(1), values.square().sum(1)])


def _mean_and_std(sums: Tensor) -> tuple[Tensor, Tensor]:
    dist.all_reduce(sums)
    count, total, squares = sums
    mean = total / count
    return mean, (squares / count - mean.square()).clamp_min(0.0).sqrt()
