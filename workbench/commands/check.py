"""`python -m workbench check`: whether a loaded model is what it should be."""

from dataclasses import dataclass

from tqdm import tqdm

from workbench.cli import Command, flag_words
from workbench.commands.settings import MODEL_ALIASES, ModelSettings
from workbench.config import setting
from workbench.devices import DEVICE_HELP, DTYPE_HELP
from workbench.errors import WorkbenchError


@dataclass(frozen=True)
class CheckConfig:
    """Settings of `python -m workbench check`."""

    model: ModelSettings = ModelSettings()
    device: str | None = setting(None, DEVICE_HELP)
    dtype: str | None = setting(None, DTYPE_HELP)


def run_check(config: CheckConfig) -> None:
    """Run the model over the shipped clips and say what is good, odd and bad; bad findings are an error."""
    from workbench.check import check_steps
    from workbench.steps import drain

    ae = config.model.load(config.device, config.dtype)
    with tqdm(desc=f"checking {ae.name}", unit="clip", dynamic_ncols=True) as bar:
        findings = drain(check_steps(ae), lambda progress: bar.update(progress.done - bar.n))
    for finding in findings:
        print(f"{finding.verdict:>4}  {finding.what}: {flag_words(finding.found, COMMAND)}")
    bad = sum(finding.verdict == "bad" for finding in findings)
    if bad:
        raise WorkbenchError(f"{ae.name}: {bad} of {len(findings)} findings are bad, see above")


COMMAND = Command("Check whether a model is what it should be.", CheckConfig(), run_check, aliases=MODEL_ALIASES)
