"""What plain Sphinx needs to build the book without Jupyter Book: `make exit`.

``jupyter-book config sphinx`` writes the book's settings for Sphinx. This program takes out what only Jupyter Book
knows, puts in where the book's own extensions lie, and makes paths absolute, because the settings lie in ``_build``.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OWN = {"jupyter_book", "use_jupyterbook_latex", "use_multitoc_numbering"}  # an extension and two settings
FOLDERS = "html_static_path", "html_extra_path", "bibtex_bibfiles"


def settings(text, root=ROOT):
    """The settings of plain Sphinx, from those that Jupyter Book wrote."""
    values = {}
    exec(text, values)
    values = {name: value for name, value in values.items() if not name.startswith("__") and name not in OWN}
    values["extensions"] = [name for name in values["extensions"] if name not in OWN]
    for name in FOLDERS:
        values[name] = [str(root / value) for value in values[name]]
    lines = [f"{name} = {value!r}" for name, value in values.items()]
    return "\n".join(["import sys", f"sys.path[:0] = [{str(root / '_ext')!r}, {str(root)!r}]", *lines, ""])


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(settings(path.read_text(encoding="utf-8")), encoding="utf-8")
