"""`python -m workbench bench`: how fast a model encodes and decodes here."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from workbench.bench import BenchSettings, bench
from workbench.cli import Command
from workbench.commands.settings import DEVICE_HELP, DTYPE_HELP, MODEL_ALIASES, ModelSettings
from workbench.compare.tables import text_table, write_json
from workbench.config import setting, to_dict
from workbench.models import needs_weights


@dataclass(frozen=True)
class BenchConfig(BenchSettings):
    """Settings of `python -m workbench bench`."""

    model: ModelSettings = ModelSettings(name="video_dc_ae")
    device: str | None = setting(None, DEVICE_HELP)
    dtype: str | None = setting(None, DTYPE_HELP)
    out: str | None = setting(None, "also write the rows to this .json file")


def run_bench(config: BenchConfig) -> None:
    """Measure encode and decode and print, and if asked write, a table."""
    model = config.model
    if model.from_pretrained is None and needs_weights(model.name):
        print("random weights: speed does not depend on them")
        model = replace(model, from_pretrained="random")
    ae = model.load(config.device, config.dtype)
    rows = [asdict(row) for row in bench(ae, config)]
    print(f"{ae.name} on {ae.device}, {ae.dtype}, {config.batch} x {config.frames} x {config.height} x {config.width}")
    print(text_table(rows))
    if config.out:
        write_json(Path(config.out), {"settings": to_dict(config), "rows": rows})
        print(f"written to {config.out}")


COMMAND = Command("Measure how fast a model encodes and decodes.", BenchConfig(), run_bench, aliases=MODEL_ALIASES)
