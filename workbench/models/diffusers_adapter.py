"""Loading autoencoders of the `diffusers` library, from a folder, the Hub, or with random weights."""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from workbench.config import did_you_mean
from workbench.errors import ConfigError, WeightsError, first_line
from workbench.models.catalogue import DIFFUSERS_CLASSES, PREFIX
from workbench.models.diffusers_autoencoder import DiffusersAutoencoder
from workbench.models.minimax_h3 import MiniMaxH3
from workbench.models.rae import RAE
from workbench.models.weights import check_hub

_WITH_OWN_TILES = {"AutoencoderKLMiniMaxH3": MiniMaxH3, "AutoencoderRAE": RAE}


def adapted(vae: Any) -> DiffusersAutoencoder:
    """An instance of one of DIFFUSERS_CLASSES as an Autoencoder."""
    return _WITH_OWN_TILES.get(type(vae).__name__, DiffusersAutoencoder)(vae)


def load_diffusers(source: str) -> DiffusersAutoencoder:
    """An autoencoder of diffusers, on the CPU in float32.

    Args:
        source: a name of DIFFUSERS_CLASSES (default configuration, random weights), a folder written by
            `save_pretrained` (of the autoencoder, or of a pipeline with a folder `vae`), or org/repo[/folder] on the
            Hugging Face Hub.

    Raises:
        ConfigError: the class is not one of DIFFUSERS_CLASSES.
        WeightsError: there is no such folder or repository, or its weights cannot be read.
    """
    if source in DIFFUSERS_CLASSES:
        return adapted(diffusers_class(source)())
    if "/" not in source and not Path(source).is_dir():
        diffusers_class(source)
    location, subfolder = _locate(source)
    if not Path(location).is_dir():
        check_hub(location, "/".join(filter(None, (subfolder, "config.json"))))
    try:
        config = diffusers_class("AutoencoderKL").load_config(location, subfolder=subfolder)
        cls = diffusers_class(config.get("_class_name"))
        if cls._keep_in_fp32_modules:  # all is loaded as float32; what is pinned to it would need accelerate
            cls = type(cls.__name__, (cls,), {"_keep_in_fp32_modules": None})
        model = cls.from_pretrained(location, subfolder=subfolder, low_cpu_mem_usage=False)
    except (OSError, ValueError, SafetensorError) as error:
        reason = first_line(error)
        raise WeightsError(f"{PREFIX}{source}: not a folder or Hub repository with weights ({reason})") from None
    adapter = adapted(model)
    if Path(location).is_dir():
        adapter.weights_path = Path(location, subfolder or "")
    return adapter


def diffusers_class(name: str | None) -> Any:
    """A class of DIFFUSERS_CLASSES.

    Raises:
        ConfigError: it is none of them, or takes a package that is not here.
    """
    if name not in DIFFUSERS_CLASSES:
        known = ", ".join(DIFFUSERS_CLASSES)
        raise ConfigError(f"{PREFIX}{name}: not one of {known}{did_you_mean(str(name), DIFFUSERS_CLASSES)}")
    if name == "AutoencoderRAE" and find_spec("transformers") is None:
        raise ConfigError(f"{PREFIX}{name}: its encoders are of another package; pip install transformers")
    import diffusers

    _leave_out_a_broken_torchvision()
    return getattr(diffusers, name)


def _leave_out_a_broken_torchvision() -> None:
    """Let diffusers know that torchvision is not there, where it cannot be imported.

    It takes it for there where its files are, as they are by the package lpips, and imports it with all of its models,
    of which none here needs it. PyPI's build of it is for CUDA: beside a torch without, `import torchvision` ends in
    "operator torchvision::nms does not exist".
    """
    from diffusers.utils import import_utils

    try:
        import_module("torchvision")
    except (ImportError, OSError, RuntimeError):
        import_utils._torchvision_available = False


def _locate(source: str) -> tuple[str, str | None]:
    """Split a folder or Hub name into what diffusers calls the repository and the folder inside it."""
    path = Path(source).expanduser()
    if path.is_dir():
        in_pipeline = not (path / "config.json").is_file() and (path / "vae").is_dir()
        return str(path), "vae" if in_pipeline else None
    owner, repo, *folders = source.split("/")
    return f"{owner}/{repo}", "/".join(folders) or None
