"""Words that plans, cards, commands and results share."""


def counted(number: int, noun: str) -> str:
    """So many of something: 1 frame, 2 frames."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def overlap_words(work: float) -> str:
    """What overlaps cost, see `models.cost.work_ratio`."""
    return f"overlaps make {work:.2f} times the work" if work > 1.005 else "no overlap"
