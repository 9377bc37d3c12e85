"""Tables in notebooks: lines of text would wrap in an exported page."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from workbench.compare.tables import shown, text_table


class Table:
    """Rows that JupyterLab, and pages exported by nbconvert as HTML or Markdown, show as a table; else as text."""

    def __init__(self, rows: Sequence[Mapping[str, Any]], caption: str = "") -> None:
        self._rows, self._caption = rows, caption

    def __repr__(self) -> str:
        return "\n".join(filter(None, (self._caption, text_table(self._rows))))

    def _repr_html_(self) -> str:
        """What Jupyter looks for, in one line: an empty one would end the table in Markdown."""
        names = list(dict.fromkeys(name for row in self._rows for name in row))
        head = "".join(f"<th>{html.escape(shown(name))}</th>" for name in names)
        body = "".join(f"<tr>{''.join(_cell(row.get(name)) for name in names)}</tr>" for row in self._rows)
        caption = f"<caption>{html.escape(self._caption)}</caption>" if self._caption else ""
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    side = "left" if isinstance(value, str) else "right"
    return f'<td style="text-align: {side}">{html.escape(shown(value))}</td>'
