"""The IPython extension of the course: `%load_ext course` opens every notebook.

Notebooks run in their own folder. The extension moves the kernel to the repository's root, so that `import workbench`,
paths and commands are those of the README, whatever JupyterLab, VS Code or nbconvert started the kernel. `python` in a
command is then the notebook's own. Figures are kept both for JupyterLab and as HTML with Plotly inside, so that they
also show in an exported page, offline.
"""

import os
import sys
from pathlib import Path

from IPython.core.interactiveshell import InteractiveShell

ROOT = Path(__file__).resolve().parents[1]
SHORT_BARS = {"TQDM_BAR_FORMAT": "{desc}: {n_fmt}/{total_fmt} {unit}s in {elapsed}", "TQDM_MININTERVAL": "5"}
"""Progress of commands: every state of a bar is a line of its own in an exported page."""


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Called by IPython."""
    import plotly.io

    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    os.environ |= SHORT_BARS
    plotly.io.renderers.default = "plotly_mimetype+notebook"
