"""Comparing autoencoders on equal terms: the same frames for all, resumable, over any number of ranks."""

from workbench.evaluate.clip import ClipResult, evaluate_clip
from workbench.evaluate.run import Evaluation, Task, evaluate
from workbench.evaluate.settings import EvaluateSettings, ModelEntry, parse_models
from workbench.evaluate.store import ResultStore
from workbench.evaluate.summary import leaderboard, write_results

__all__ = [
    "ClipResult",
    "EvaluateSettings",
    "Evaluation",
    "ModelEntry",
    "ResultStore",
    "Task",
    "evaluate",
    "evaluate_clip",
    "leaderboard",
    "parse_models",
    "write_results",
]
