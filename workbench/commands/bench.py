"""`python -m workbench bench`: how fast a model encodes and decodes here."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tqdm import tqdm

from workbench.bench.settings import BenchSettings
from workbench.cli import Command
from workbench.commands.settings import MODEL_ALIASES, ModelSettings
from workbench.compare.tables import text_table
from workbench.config import setting, to_dict
from workbench.devices import DEVICE_HELP, DTYPE_HELP, pick_device, pick_dtype
from workbench.files import write_json
from workbench.models.catalogue import needs_weights
from workbench.steps import Progress, drain
from workbench.tile_settings import ONE_PIECE


@dataclass(frozen=True)
class BenchConfig(BenchSettings):
    """Settings of `python -m workbench bench`."""

    model: ModelSettings = ModelSettings(name="video_dc_ae")
    device: str | None = setting(None, DEVICE_HELP)
    dtype: str | None = setting(None, DTYPE_HELP)
    out: str | None = setting(None, "also write the rows to this .json file")


def run_bench(config: BenchConfig) -> None:
    """Measure encode and decode and print, and if asked write, a table."""
    from workbench.bench.run import bench_steps, check_memory
    from workbench.models.identity import model_record

    model, device = config.model, pick_device(config.device)
    check_memory(config, device, pick_dtype(config.dtype, device))
    if model.from_pretrained is None and needs_weights(model.name):
        print("random weights: speed does not depend on them")
        model = replace(model, from_pretrained="random")
    ae = model.load(device, config.dtype)
    used = model_record(ae, ONE_PIECE)
    shape = f"{config.batch} x {config.frames} x {config.height} x {config.width}"
    print(f"{ae.name} on {used['device']}, {used['dtype']}, {used['threads']} CPU threads: {shape}", flush=True)
    with tqdm(desc="measuring", unit="run", dynamic_ncols=True) as bar:
        result = drain(bench_steps(ae, config), lambda progress: _show(bar, progress))
    rows = [asdict(row) for row in result.rows]
    print(f"a large matmul reaches {result.matmul_tflop_per_s:.4g} TFLOP/s here: peak_share is of that")
    print(text_table(rows))
    if config.out:
        record = {"settings": to_dict(config), "used": used, "matmul_tflop_per_s": result.matmul_tflop_per_s}
        write_json(Path(config.out), record | {"rows": rows})
        print(f"written to {config.out}")


def _show(bar: tqdm, progress: Progress) -> None:
    bar.total = progress.total
    bar.update()


COMMAND = Command("Measure how fast a model encodes and decodes.", BenchConfig(), run_bench, aliases=MODEL_ALIASES)
