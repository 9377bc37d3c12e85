"""Weights of a model from the Hugging Face Hub: its own client is atomic, verified, resumable and safe for two."""

from pathlib import Path

from workbench.errors import ConfigError
from workbench.models.catalogue import MODELS
from workbench.models.weights import locate_weights


def hub_name(word: str) -> str | None:
    """The Hub name org/repo/file that `word` means: itself, or that of a model; None where it is neither."""
    if word in MODELS:
        weights = MODELS[word].weights
        return weights if isinstance(weights, str) else None
    return word if word.count("/") >= 2 else None


def fetch_weights(word: str) -> Path:
    """Bring weights into the Hub's own cache, where `--model.from_pretrained` finds them by the same name.

    Raises:
        ConfigError: the word names nothing on the Hub.
        WeightsError: the Hub cannot be reached, or has no such file.
    """
    name = hub_name(word)
    if name is None:
        raise ConfigError(f"{word!r}: has no weights on the Hub; give org/repo/file, lpips, fvd or a model that has")
    return locate_weights(name)
