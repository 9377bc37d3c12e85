"""The probes by name: what they are called, which way is better, and how well each is known to predict generation."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan


@dataclass(frozen=True)
class Probe:
    """One figure of a latent space.

    Attributes:
        lower_is_better: None where neither way is.
        correlation: |r| with generation quality over 86 tokenizers of images (arXiv 2606.03578); None: not known.
        marks: published values, by what they are of.
        note: what a reader needs to know.
        takes: what clips must hold for it.
    """

    label: str
    lower_is_better: bool | None
    correlation: float | None = None
    marks: tuple[tuple[str, float], ...] = ()
    note: str = ""
    takes: str = ""


_BLOCKS = "clips of two blocks of 4 x 4 latents or more, which change"

PROBES: dict[str, Probe] = {
    "viv": Probe(
        "VIV", True, 0.87, (("baseline", 1.14), ("good", 0.37)), "over blocks of a clip: a proxy for video", _BLOCKS
    ),
    "viv_scaled": Probe("VIV * sqrt(d)", True, None, (), "comparable between spaces of different size", _BLOCKS),
    "rho": Probe("variance inside clips", None, takes=_BLOCKS),
    "sec_25": Probe("SEC 0.25", True, 0.80, (("baseline", 0.40), ("good", 0.04))),
    "sec_50": Probe("SEC 0.5", True, 0.80),
    "sec_3d_25": Probe("SEC 0.25, with time", True, None, (), "SSVAE's, over space and time"),
    "lnc_5": Probe("LNC@5", False, 0.794, takes="6 clips or more"),
    "lnc_10": Probe("LNC@10", False, 0.794, takes="11 clips or more"),
    "lds": Probe("LDS", False, 0.72, takes="frames of 4 x 4 latents or more"),
    "cds": Probe("CDS", False, 0.72, takes="frames of 2 x 3 latents or more"),
    "between_fd": Probe("iFD of points between latents", True, 0.65, (), "by the vision network: no published iFID"),
    "generator_share": Probe("small generator", True, None, (), "1: nothing learnt; see the note on the page"),
    "samples_fd": Probe("FD of its samples", True, None, (), "frames against held-out ones, by the vision network"),
    "decoded_fd": Probe("FD of decoded latents", True, None, (), "the floor of both"),
    "between_fvd": Probe("FVD of points between latents", True, None, (), "16 frames of a block, by I3D"),
    "samples_fvd": Probe("FVD of samples", True, None, (), "16 frames of a block, by I3D: no published FVD"),
    "decoded_fvd": Probe("FVD of decoded latents", True, None, (), "the floor of both"),
    "vf_distance": Probe("VF distance", True, None, (), "how far cosines of latents and of vision features differ"),
    "vf_share": Probe(
        "features told by latents", False, None, (), "variance that a linear map explains", "two clips or more"
    ),
    "vf_cosine": Probe("cosine of features and those told", False, takes="two clips or more"),
    "effective_rank": Probe("effective rank", None),
    "condition_number": Probe("condition number", True),
    "top_10_share": Probe("variance in 10 directions", None),
    "dead_channels": Probe("dead channels", True),
    "kurtosis": Probe("kurtosis, median channel", None, None, (("normal", 3.0),)),
    "previous_frame": Probe("told by the previous frame", None, takes="two latents in time"),
    "noise_1_psnr": Probe("PSNR with noise of 1 deviation", False),
    "noise_loss_db": Probe("PSNR lost to noise of 0.25", True),
    "between_frames_psnr": Probe("PSNR between frames", False, takes="three latents in time"),
    "equivariance": Probe(
        "equivariance error", True, 0.53, (), "the weakest predictor of all", "frames of two latents a side"
    ),
}
"""Ordered by what is known to count."""


def left_out(figures: Mapping[str, float | None]) -> list[str]:
    """A line for what could not be told of the clips: figures by name, NaN or None where there is none."""
    missing: dict[str, list[str]] = {}
    for name, value in figures.items():
        if value is None or isnan(value):
            missing.setdefault(PROBES[name].takes, []).append(PROBES[name].label)
    return [f"no {', '.join(labels)}: it takes {takes}" for takes, labels in missing.items()]


WHITE_NOISE = "white noise"
"""The control: normal noise of the shape of the first model's latents."""
