"""The tensors of one model among all that a file of another tool holds: in containers, behind prefixes, beside others.

Containers are mappings such as {"model": ...} or Lightning's {"state_dict": ...}; to names they are prefixes like
`module.` of DistributedDataParallel or `vae.` of a pipeline. None is known by name: a set of tensors is the model's
where every name of the model follows one prefix.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from workbench.errors import WeightsError

_WRAPPERS = re.compile(r"(?<![^.])(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""What torch.compile, FSDP and checkpointing put into names, at any depth."""

_OF_TRAINING = ("loss", "loss_fn", "criterion", "discriminator", "lpips", "perceptual_loss", "model_ema")
"""Modules that training keeps beside an autoencoder, and that none has inside: of anything else it may be missing."""

_DEEPEST = 4  # containers within containers


@dataclass(frozen=True)
class Part:
    """The tensors of a model by its own names, and where in the file they were.

    Attributes:
        prefix: what stood before every name; empty for none.
        left_out: how many tensors the file holds beside.
        is_renamed: whether wrappers were taken out of names.
    """

    state: dict[str, Tensor]
    prefix: str = ""
    left_out: int = 0
    is_renamed: bool = False

    def __str__(self) -> str:
        words = [f"took {len(self.state)} tensors"]
        words += [f'behind the prefix "{self.prefix}"'] if self.prefix else []
        words += ["without the names of wrappers"] if self.is_renamed else []
        return " ".join(words) + (f"; {self.left_out} others are left out" if self.left_out else "")

    @property
    def is_plain(self) -> bool:
        """Whether the file is just the model."""
        return not (self.prefix or self.left_out or self.is_renamed)


def flattened(tree: object, depth: int = _DEEPEST) -> dict[str, Tensor]:
    """All tensors in mappings within mappings, their keys joined by dots; other values are passed over."""
    if not isinstance(tree, Mapping) or depth == 0:
        return {}
    found = {key: value for key, value in tree.items() if isinstance(key, str) and isinstance(value, Tensor)}
    for key, value in tree.items():
        if isinstance(key, str):
            found |= {f"{key}.{name}": tensor for name, tensor in flattened(value, depth - 1).items()}
    return found


def part_of(source: str, state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], chosen: str | None = None) -> Part:
    """The tensors of a model with the names and shapes of `wanted`; the nearest to them where none fit.

    Args:
        source: what the file is called in errors.
        chosen: the prefix to take, with or without its dot; needed where several fit.

    Raises:
        WeightsError: several fit, or what was chosen is not there.
    """
    plain = {_WRAPPERS.sub("", name): tensor for name, tensor in state.items()}
    if len(plain) < len(state):
        raise WeightsError(f"{source}: holds tensors twice, with and without the names of wrappers as _orig_mod")
    counts = Counter(prefix for name in plain for prefix, rest in _cuts(name) if rest in wanted)
    whole = sorted(prefix for prefix, count in counts.items() if count == len(wanted))
    fitting = [prefix for prefix in whole if _has_shapes(plain, wanted, prefix)]
    prefix = _prefix(source, counts, fitting, chosen)
    beside = (*(f"{name}." for name in _OF_TRAINING), *(other.removeprefix(prefix) for other in fitting))
    behind = {name.removeprefix(prefix): tensor for name, tensor in plain.items() if name.startswith(prefix)}
    kept = {name: x for name, x in behind.items() if name in wanted or not name.startswith(tuple(filter(None, beside)))}
    is_renamed = any(prefix + name not in state for name in kept)
    return Part(kept, prefix, len(state) - len(kept), is_renamed)


def _prefix(source: str, counts: Mapping[str, int], fitting: list[str], chosen: str | None) -> str:
    """The prefix that all names of the model follow, or most of them; empty where no name of it is in the file.

    Args:
        counts: how many names of the model follow each prefix.
        fitting: the prefixes that all of them follow, with the shapes of the model.
    """
    names = ", ".join(f"{source}#{prefix.removesuffix('.')}" for prefix in fitting)
    if chosen is not None:
        prefix = f"{chosen.removesuffix('.')}." if chosen else ""
        if prefix not in counts:
            raise WeightsError(f"{source}: holds no weights of this model behind {chosen!r}; it has {names or 'none'}")
        return prefix
    if len(fitting) > 1:
        raise WeightsError(f"{source}: holds {len(fitting)} sets of weights of this model; name one of them: {names}")
    return fitting[0] if fitting else max(counts, key=counts.__getitem__, default="")


def _cuts(name: str) -> Iterator[tuple[str, str]]:
    """A name cut in two at its start, and after each of its dots."""
    yield "", name
    for position, letter in enumerate(name, 1):
        if letter == ".":
            yield name[:position], name[position:]


def _has_shapes(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], prefix: str) -> bool:
    return all(state[prefix + name].shape == tensor.shape for name, tensor in wanted.items())
