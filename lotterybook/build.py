"""Chapters: the cell that makes Colab ready, and the command that executes chapters and keeps their outputs.

``python -m lotterylib.notebook`` (``make chapters``) writes the numbers of the findings into the prose, executes every
chapter on the recorded ``book`` preset and keeps the outputs in the notebook. The prose quotes a number as
``<span data-value="name">4.0 %</span>``; a test compares each with the findings.
"""

import argparse
import difflib
import hashlib
import os
import re
from pathlib import Path

from . import experiments, records, scale, store

# Where the book is published, and the branch whose notebooks its buttons open; `make publish-url URL=...` sets both.
URL, BRANCH = "", "main"
COLAB = "https://colab.research.google.com"
BOOTSTRAP = f'''\
# On Colab this fetches the book and the packages that Colab lacks, and leaves Colab's own as they are.
# Where lotterylib is installed it does nothing.
import importlib.util, pathlib, shutil, subprocess, sys

if importlib.util.find_spec("lotterylib") is None:
    url, branch = "{URL}", "{BRANCH}"
    if not url:
        raise ModuleNotFoundError("lotterylib: clone the book's repository and run `make book` there")
    folder = pathlib.Path("unmasking-winning-tickets").resolve()
    if not folder.exists():
        unfinished = folder.with_suffix(".part")
        shutil.rmtree(unfinished, ignore_errors=True)
        clone = "git", "clone", "--quiet", "--depth", "1", "--branch", branch
        subprocess.run([*clone, url, unfinished], check=True)
        unfinished.rename(folder)
    needed = "mnist1d", "safetensors", "scipy", "tqdm"
    subprocess.run([sys.executable, "-m", "pip", "install", "-qq", "--no-deps", *needed], check=True)
    sys.path.insert(0, str(folder))'''

ROOT = Path(__file__).resolve().parent.parent
PAGES = (ROOT / "README.md", ROOT / "intro.md")
OVERVIEW = ROOT / "images" / "overview.png"
_PICTURE = re.compile(r"!\[.*?\]\(images/overview\.png\)")
_COLAB = re.compile(r"(<!-- colab -->\n).*?(<!-- /colab -->)", re.DOTALL)
_NUMBER = re.compile(r'(<span data-value="([^"]+)">)(.*?)(</span>)', re.DOTALL)


def fill(text, numbers) -> str:
    """Put the current value of each quoted number into a text. Raises ``ValueError`` for an unknown name."""

    def value(match):
        if match[2] not in numbers:
            near = ", ".join(difflib.get_close_matches(match[2], numbers, 5, 0)) or "no names"
            raise ValueError(f"the prose quotes {match[2]!r}, which is unknown; names like it are {near}")
        return f"{match[1]}{numbers[match[2]]}{match[4]}"

    return _NUMBER.sub(value, text)


def sources(notebook) -> str:
    """Hash of what the outputs of a chapter depend on: its cells, the library, the published records."""
    cells = [[cell["cell_type"], "".join(cell["source"])] for cell in notebook["cells"]]
    library = Path(__file__).parent
    code = sorted(path for path in library.rglob("*.py") if path != Path(__file__))
    manifest = records.PUBLISHED / "manifest.json"
    return store.key([cells, [hashlib.sha256(path.read_bytes()).hexdigest() for path in [*code, manifest]]])


def refresh(path, numbers):
    """Execute a chapter and keep its outputs in place; without a change in its sources nothing is done."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    notebook.cells[0].source = BOOTSTRAP
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = fill(cell.source, numbers)
    if notebook.metadata.get("lotterylib", {}).get("sources") == sources(notebook):
        return
    os.environ["TQDM_DISABLE"] = "1"
    NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(path.parent)}}).execute()
    notebook.metadata.pop("widgets", None)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number:02d}"
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", ()):  # a stored widget would need its kernel; its picture stays
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
    notebook.metadata["lotterylib"] = {"sources": sources(notebook)}
    store.write_bytes(path, (nbformat.writes(notebook) + "\n").encode())
    print(f"executed {path.name}", flush=True)


def overview():
    """The drawing on the landing page and in the README."""
    from .figures import overview

    tickets, barriers = experiments.winning_tickets("book"), experiments.successive_barriers("book")
    return overview.ticket(tickets, barriers, failing=0, winning=experiments.PRESETS["book"].control_step)


def colab() -> str:
    """Links that open the published chapters in Colab; none before they are published."""
    if not URL:
        return ""
    there = f"{COLAB}/github/{URL.removeprefix('https://github.com/')}/blob/{BRANCH}/chapters"
    names = sorted(path.name for path in (ROOT / "chapters").glob("*.ipynb"))
    return "".join(f"- [{name}]({there}/{name})\n" for name in names)


def page(text, numbers, alt) -> str:
    """Put the current numbers, the links to Colab, and the overview's alternative text, into a page of Markdown."""
    text = _COLAB.sub(lambda match: match[1] + colab() + match[2], fill(text, numbers))
    return _PICTURE.sub(lambda _: f"![{alt}](images/overview.png)", text)


def publish_at(url, branch="main", root=ROOT):
    """Write where the book is published into this file, from which chapters take their first cell, and the settings.

    Raises ``ValueError`` unless ``url`` is https://github.com/OWNER/REPOSITORY, the only kind that Colab opens, and
    ``branch`` a plain name.
    """
    if not re.fullmatch(r"https://github\.com/[\w-]+/[\w.-]+(?<!\.git)", url):
        raise ValueError(f"url is {url!r}; it must be https://github.com/OWNER/REPOSITORY, for Colab")
    if not re.fullmatch(r"[\w./-]+", branch):
        raise ValueError(f"branch is {branch!r}; it must be a name of letters, digits and ._/-")
    settings = root / "_config.yml"
    for path, name, value in (
        (root / "lotterylib" / "notebook.py", "URL, BRANCH = ", f'"{url}", "{branch}"'),
        (settings, "  url: ", f'"{url}"'),
        (settings, "  branch: ", branch),
        (settings, "  colab_url: ", f'"{COLAB}"'),
        (settings, "  use_repository_button: ", "true"),
        (settings, "  use_issues_button: ", "true"),
    ):
        text = re.sub(f"(?m)^{name}.*", lambda _, new=name + value: new, path.read_text(), count=1)
        store.write_bytes(path, text.encode())


def main(arguments=None):
    """Execute chapters whose sources or records changed, keep their outputs, and refresh README and landing page."""
    parser = argparse.ArgumentParser(prog="python -m lotterylib.notebook", description=main.__doc__)
    chapters = sorted((ROOT / "chapters").glob("*.ipynb"))
    parser.add_argument("paths", nargs="*", type=Path, default=chapters, help="default: all chapters")
    parser.add_argument("--url", help="only set the address at which the repository is published")
    parser.add_argument("--branch", default="main", help="with --url: the branch that its buttons open")
    options = parser.parse_args(arguments)
    if options.url is not None:
        try:
            return publish_at(options.url, options.branch)
        except ValueError as error:
            parser.error(error)
    drawing, numbers = overview(), scale.numbers()
    for path in options.paths:
        refresh(path, numbers)
    store.write_bytes(OVERVIEW, drawing.png())
    for path in PAGES:
        store.write_bytes(path, page(path.read_text(), numbers, drawing.alt).encode())


if __name__ == "__main__":
    main()
