"""Words that plans, cards and results share."""


def counted(number: int, noun: str) -> str:
    """So many of something: 1 frame, 2 frames."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
