"""`python -m workbench fetch`: the networks that measure, and weights of models, brought to this machine."""

from typing import Any

from tqdm import tqdm

from workbench.cli import Command
from workbench.commands.models import NoSettings
from workbench.compare.tables import text_table
from workbench.models.catalogue import MODELS


class _BytesBar(tqdm):
    """Progress in bytes, with no more to show for what is here already."""

    def __init__(self, label: str) -> None:
        super().__init__(desc=label, unit="B", unit_scale=True, unit_divisor=1000, dynamic_ncols=True, leave=False)

    def show(self, done: int, total: int) -> None:
        self.total = total
        self.update(done - self.n)


def run_fetch(config: NoSettings, *words: str) -> None:
    """Bring what is named here; without a name, list what there is."""
    from workbench.fetch.hub import fetch_weights
    from workbench.metrics.networks import NETWORKS, networks_folder

    if not words:
        print(text_table([*_networks(), *_weights()]))
        print(f"\nnetworks are kept in {networks_folder()}, weights in the Hub's own cache")
        return
    for word in words:
        if word in NETWORKS.values():
            _fetch_networks(word)
        else:
            print(f"{word}: {fetch_weights(word)}")


def _fetch_networks(argument: str) -> None:
    from workbench.fetch.run import fetch_network
    from workbench.metrics.networks import NETWORKS, network_path

    for name in (name for name, wanted in NETWORKS.items() if wanted == argument):
        with _BytesBar(name) as bar:
            source = fetch_network(name, bar.show)
        print(f"{name}: {source}, in {network_path(name)}")


def _networks() -> list[dict[str, Any]]:
    from workbench.fetch.run import items

    return [
        {
            "fetch": item.argument,
            "what": item.summary,
            "MB": round(item.megabytes, 1),
            "here": "yes" if item.is_here else "no",
        }
        for item in items()
    ]


def _weights() -> list[dict[str, Any]]:
    from workbench.fetch.hub import is_here

    return [
        {"fetch": name, "what": f"{spec.weights} on the Hub", "here": "yes" if is_here(spec.weights) else "no"}
        for name, spec in MODELS.items()
        if isinstance(spec.weights, str)
    ]


COMMAND = Command(
    "Bring networks that measure, or weights, to this machine: lpips, fvd, a model or org/repo/file.",
    NoSettings(),
    run_fetch,
    words="NAME",
)
