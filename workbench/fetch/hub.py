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


def is_here(name: str) -> bool:
    """Whether weights org/repo/file are in the Hub's cache; asks no network."""
    from huggingface_hub import try_to_load_from_cache

    owner, repo, filename = name.split("/", 2)
    return isinstance(try_to_load_from_cache(f"{owner}/{repo}", filename), str)


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
