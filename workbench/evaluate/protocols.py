"""How published reconstruction figures were measured, read from public code; one frozen record for each way.

Whatever a source does not say is listed as unknown, and what a reader would not expect is listed as odd: both are
replayed, or replaced, as the record says, never guessed.
"""

from dataclasses import asdict, dataclass
from typing import Any

from workbench.metrics.window import UNIFORM_7, WANG, Window


@dataclass(frozen=True)
class PsnrWay:
    """10 log10(1 / (MSE + floor)), at most `cap` dB.

    Attributes:
        per: "frame" takes the mean of the frames' values, "clip" the value of the clip's mean squared error.
        floor: added to the mean squared error of values in [0, 1].
        cap: dB of frames that are equal, None where that is infinite.
        whole_cap: whether one such frame gives the whole clip that value.
    """

    per: str = "frame"
    floor: float = 0.0
    cap: float | None = None
    whole_cap: bool = False


@dataclass(frozen=True)
class VideoWay:
    """What the features of I3D are taken of, and what becomes of them.

    Attributes:
        field: "fvd_frechet", a Fréchet distance over a set, or "i3d_per_clip_sq", the squared distance of the logits of
            original and reconstruction, averaged over clips. Both have been printed as FVD; they are never mixed here.
        fit: "stretch" to 224 x 224, or "cover" it by the short side and crop the centre; bilinear.
        signed: whether the network gets values in [-1, 1], for which it was trained, or in [0, 1].
        window: frames of a pass, None for the whole clip; frames left over are not used.
        limit: frames of a clip that count at most.
        prefixes: the first and the last length of the beginnings of the clip that are averaged over.
    """

    field: str
    fit: str
    signed: bool = True
    window: int | None = None
    limit: int | None = None
    prefixes: tuple[int, int] | None = None


@dataclass(frozen=True)
class Protocol:
    """One way to measure.

    Attributes:
        title, source: what it is, and the repository, commit and files that it was read from.
        resolution, num_frames, max_frames, fps_max, dtype: as the settings of `evaluate`; None leaves them to the user.
        sample_posterior: whether a variational model is sampled; otherwise the posterior's mode is decoded.
        values: "rounded" to 8 bits, "truncated" to 8 bits, "float" as they come, or "min-max": each clip, original and
            output by itself, is stretched so that its values fill [0, 1].
        written: "" where tensors are compared, "mp4v" where both are written by OpenCV and read back, "h264-output"
            where the output alone is written (x264, CRF 10) and read back.
        written_fps: rate that they are written at, which decides their bit rate.
        low_precision_input: whether the original goes through bfloat16 before it is compared.
        ssim, ssim_pooled: the window; whether frames are first averaged down by round(short side / 256).
        lpips, lpips_spatial, lpips_signed: the backbone; the mean of an enlarged map or the plain value; whether the
            network gets values in [-1, 1] or, against its documentation, in [0, 1].
        video: None where the source says nothing of it.
        sets: the sets of clips that figures were published on, with their number of clips, 0 where that is not said.
    """

    title: str
    source: str
    resolution: str | None = None
    num_frames: int | None = None
    max_frames: int | None = None
    fps_max: float | None = None
    dtype: str | None = None
    sample_posterior: bool = False
    values: str = "rounded"
    written: str = ""
    written_fps: float = 0.0
    low_precision_input: bool = False
    psnr: PsnrWay = PsnrWay()
    ssim: Window = WANG
    ssim_pooled: bool = False
    lpips: str = "vgg"
    lpips_spatial: bool = False
    lpips_signed: bool = True
    video: VideoWay | None = None
    sets: tuple[tuple[str, int], ...] = ()
    odd: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """Plain values that JSON can hold."""
        return asdict(self)


PROTOCOLS: dict[str, Protocol] = {
    "workbench": Protocol(
        title="this workbench's own",
        source="this project: workbench/metrics",
        psnr=PsnrWay(cap=100.0),
        video=VideoWay("fvd_frechet", "stretch", window=16),
    ),
    "wfvae": Protocol(
        title="WF-VAE",
        source="github.com/PKU-YuanGroup/WF-VAE d858bee: scripts/recon_video.py, scripts/eval.py, examples/eval.sh, "
        "examples/gen_video.sh, causalvideovae/eval/cal_*.py; Open-Sora-Plan issue 465 for frames and rate",
        resolution="256px_ar1:1",
        num_frames=33,
        dtype="bfloat16",
        values="truncated",
        written="mp4v",
        written_fps=24.0,
        low_precision_input=True,
        psnr=PsnrWay(cap=100.0, whole_cap=True),
        lpips="alex",
        lpips_spatial=True,
        video=VideoWay("i3d_per_clip_sq", "cover"),
        sets=(("panda70m", 0), ("webvid", 0)),
        odd=(
            "values are truncated, not rounded, to 8 bits",
            "original and reconstruction are compressed by OpenCV's mp4v and read back before they are compared",
            "what is printed as FVD is taken of one clip at a time: a squared distance of logits, no Fréchet distance",
        ),
        unknown=("which clips of the sets", "FFmpeg's version in the OpenCV that wrote the files"),
    ),
    "leanvae": Protocol(
        title="LeanVAE",
        source="github.com/westlake-repl/LeanVAE 62f7c7d: leanvae_inference.py, evaluation/eval_recon_videos.py, "
        "evaluation/eval/cal_*.py",
        resolution="256px_ar1:1",
        num_frames=17,
        values="truncated",
        written="h264-output",
        psnr=PsnrWay(cap=100.0),
        lpips="alex",
        lpips_spatial=True,
        video=VideoWay("i3d_per_clip_sq", "cover", prefixes=(10, 17)),
        odd=(
            "values are truncated, not rounded, to 8 bits",
            "the reconstruction is compressed (x264, CRF 10) and read back; the original is not",
            "what is printed as FVD is taken of one clip at a time, and averaged over its first 10 to 17 frames",
        ),
        unknown=("size and cropping of the clips: the code takes them as they are", "dtype: full or half precision"),
    ),
    "vidtok": Protocol(
        title="VidTok",
        source="github.com/microsoft/VidTok d6ad92d: scripts/inference_evaluate.py, vidtok/modules/util.py",
        resolution="256px_ar1:1",
        num_frames=17,
        fps_max=30.0,
        dtype="float32",
        values="float",
        psnr=PsnrWay(floor=1e-8),
        ssim_pooled=True,
        sets=(("mcl-jcv", 30),),
        odd=("1e-8 is added to the mean squared error: no frame has more than 80 dB",),
        unknown=(
            "how FVD was measured: its code is not published",
            "16 frames, not 17, for models that are not causal",
        ),
    ),
    "tokenbench": Protocol(
        title="TokenBench",
        source="github.com/NVlabs/TokenBench dcbb7d5: token_bench/metrics_cli.py, token_bench/fvd.py, "
        "token_bench/video/preprocessing_script.py",
        max_frames=300,
        psnr=PsnrWay(per="clip"),
        ssim=UNIFORM_7,
        video=VideoWay("fvd_frechet", "cover", limit=300),
        sets=(("tokenbench", 520),),
        odd=("PSNR is that of the clip's mean squared error, not the mean over its frames",),
        unknown=("how reconstructions are written to the files that are compared: nothing is written here",),
    ),
    "turbo-ucf101": Protocol(
        title="Turbo-VAED on UCF-101",
        source="github.com/hustvl/Turbo-VAED 9268488: train_vae/validation_metrics.py, "
        "train_vae/dataset/video_dataset.py",
        resolution="256px_ar1:1",
        num_frames=17,
        dtype="float32",
        sample_posterior=True,
        values="min-max",
        lpips="alex",
        lpips_spatial=True,
        lpips_signed=False,
        video=VideoWay("fvd_frechet", "stretch", signed=False),
        sets=(("ucf101", 3783),),
        odd=(
            "original and reconstruction are each stretched by their own least and greatest value",
            "LPIPS and I3D get values in [0, 1], where both were trained for [-1, 1]",
            "a sample of the posterior is decoded, not its mode",
        ),
        unknown=(
            "which clips shared a batch of four, whose least and greatest values are common: taken clip by clip here",
            "how the TorchScript file of I3D resizes: bilinear here",
        ),
    ),
    "dcaev-activitynet": Protocol(
        title="DC-AE-V on ActivityNet",
        source="github.com/dc-ai-projects/DC-Gen cae2205: dc_gen/aecore/trainer.py, dc_gen/apps/metrics/psnr/psnr.py",
        resolution="256px_ar1:1",
        num_frames=80,
        lpips="alex",
        sets=(("activitynet-1.3-test", 0),),
        unknown=("how FVD was measured: the published trainer has none", "dtype", "which frames of a clip"),
    ),
}
"""Every protocol by name, the workbench's own first."""

ALL = "all"
"""In place of a protocol's name: one reconstruction, measured in every way."""
