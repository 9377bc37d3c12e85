"""What to evaluate, and the policy that is the same for every model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.config import check_choice, check_range, setting
from workbench.errors import ConfigError
from workbench.evaluate.protocols import ALL, PROTOCOLS
from workbench.media.policy import ClipPolicy
from workbench.models.catalogue import DEFAULT_MODEL
from workbench.models.ref import parse_models
from workbench.tile_settings import Tiling

BITS_PER_VALUE = 16
"""Bits that a latent value is charged for: it is stored as bfloat16 or float16, without entropy coding."""

SUITES = ("faults",)


@dataclass(frozen=True)
class EvaluateSettings(ClipPolicy):
    """Models, the frames that each of them gets, and where results go."""

    models: str = setting(
        f"{DEFAULT_MODEL},dct",
        "comma-separated models, each NAME or NAME@WEIGHTS, where WEIGHTS is a file, a checkpoint folder, org/repo/file"
        ' on the Hub or random, as in "dct,video_dc_ae@runs/a/step-000100,diffusers:AutoencoderKLWan@random"; +DECODER'
        " behind one decodes its latents with that model, as in diffusers:wan/vae+taehv@taew2_1.safetensors",
    )
    model: Tiling = Tiling()
    lpips_every: int | None = setting(None, "LPIPS and VMAF take every n-th frame; by default 8 on a CPU, 1 on a GPU")
    vmaf: bool = setting(False, "measure VMAF too; needs vmaf-torch")
    protocol: str | None = setting(
        None,
        f"also measure as published figures were, and on such frames: {', '.join(PROTOCOLS)}; or {ALL}: one"
        " reconstruction in every way",
    )
    set_name: str | None = setting(
        None, "which published set the clips are, as in ucf101: its published figures are shown beside yours"
    )
    fvd: bool = setting(False, "measure rFVD too, with the I3D network of `fetch fvd`; needs more than 400 windows")
    warp_error: bool = setting(False, "measure the warp error along optical flow too; needs opencv-python-headless")
    fvd_network: str | None = setting(
        None,
        "measure rFVD too, with this TorchScript feature network in place of I3D: clips (1, 3, 16, 224, 224) in [-1, 1]"
        " to (1, D); it needs more than D windows of 16 frames",
    )
    suite: str | None = setting(
        None,
        "faults: drawn clips with known answers instead of yours, a figure for each of the faults that users report,"
        " and what is left after `rounds` of decoding and encoding again",
    )
    rounds: int = setting(16, "of generation loss in the suite; 0 for none")
    ocr: bool = setting(False, "in the suite, read text of three sizes too; needs the program tesseract")
    save_dir: str = setting("eval", "folder for the results; an interrupted evaluation continues there")

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_models(self.models)
        if self.suite is not None:
            check_choice("suite", self.suite, SUITES)
        check_range("rounds", self.rounds, 0)
        if self.fvd and self.fvd_network is not None:
            raise ConfigError("`fvd` takes the I3D network and `fvd_network` another: give one of them")
        if self.lpips_every is not None:
            check_range("lpips_every", self.lpips_every, 1)
        if self.protocol is not None:
            check_choice("protocol", self.protocol, [*PROTOCOLS, ALL])
            self._check_protocol()

    @property
    def protocols(self) -> tuple[str, ...]:
        """The protocols to measure under."""
        return tuple(PROTOCOLS) if self.protocol == ALL else (self.protocol,) if self.protocol else ()

    @property
    def sample_posterior(self) -> bool:
        """Whether the protocol decodes a sample; with all of them, one reconstruction serves all: that of the mode."""
        return self.protocol in PROTOCOLS and PROTOCOLS[self.protocol].sample_posterior

    def _check_protocol(self) -> None:
        for name, value in protocol_settings(self.protocol).items():
            given = getattr(self, name, value)
            if given != value:
                raise ConfigError(
                    f"`{name}`: {given} is not what protocol {self.protocol} takes, {value}; leave it out"
                )


def protocol_settings(protocol: str | None) -> dict[str, Any]:
    """The settings that a protocol fixes, by name."""
    if protocol not in PROTOCOLS:
        return {}
    fixed = ("resolution", "num_frames", "max_frames", "fps_max", "dtype")
    values = {name: getattr(PROTOCOLS[protocol], name) for name in fixed}
    return {name: value for name, value in values.items() if value is not None}


def folder_of(settings: EvaluateSettings) -> Path:
    """The folder for the results."""
    return Path(settings.save_dir).expanduser()
