"""`python -m workbench export`: the weights of a training checkpoint as one file to pass on."""

from dataclasses import dataclass
from pathlib import Path

from workbench.cli import Command
from workbench.config import check_choice, setting
from workbench.devices import DTYPE_HELP, DTYPES, torch_dtype
from workbench.errors import ConfigError, WeightsError
from workbench.files import write_errors


@dataclass(frozen=True)
class ExportConfig:
    """Settings of `python -m workbench export`."""

    out: str = setting("", "the .safetensors file to write")
    dtype: str = setting("float16", DTYPE_HELP.partition(";")[0])

    def __post_init__(self) -> None:
        check_choice("dtype", self.dtype, DTYPES)


def run_export(config: ExportConfig, *checkpoints: str) -> None:
    """Write the averaged weights of a checkpoint, or of a run's newest, with the model's name and architecture."""
    if len(checkpoints) != 1 or not config.out.endswith(".safetensors"):
        raise ConfigError("give one checkpoint and a name: python -m workbench export outputs/tiny --out a.safetensors")
    from workbench.models.registry import architecture_told, build_autoencoder
    from workbench.models.weights import load_state, locate_weights, read_weights, save_weights

    file = read_weights(locate_weights(checkpoints[0]))
    if file.model is None or file.architecture is None:
        raise WeightsError(f"{file.path}: does not say which model it holds; give a checkpoint of train.py")
    model = build_autoencoder(file.model, architecture_told(file, file.model))
    load_state(model, file)  # nothing that does not load is passed on
    out = Path(config.out)
    state = {name: tensor.to(torch_dtype(config.dtype)) for name, tensor in file.state.items()}
    with write_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        save_weights(out, state, file.model, file.architecture)
    print(f"{out}: {file.model}, {out.stat().st_size / 1e6:.2f} MB, from {file.path}")


COMMAND = Command("Write a checkpoint's weights as one small file.", ExportConfig(), run_export, words="CHECKPOINT")
