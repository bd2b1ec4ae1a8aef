"""Chapters: the cell that finds the book's packages, and the command that executes chapters and keeps their outputs.

``python -m lotterybook.build`` (``make chapters``) writes the numbers of the findings into the prose, executes every
chapter on the recorded ``book`` preset and keeps the outputs in the notebook. The prose quotes a number as
``<span data-value="name">4.0 %</span>``; a test compares each with the findings. Where the book is published, and the
branch whose notebooks its buttons open, stand in ``_config.yml``; ``make publish-url URL=...`` sets both.
"""

import argparse
import difflib
import hashlib
import os
import re
from pathlib import Path

import yaml

import lotterylib
from lotterylib import store

from . import captions, claims, explorable, jobs, overview, records, verdicts
from .barriers.experiments import successive_barriers
from .presets import PRESETS
from .tickets.experiments import winning_tickets

COLAB = "https://colab.research.google.com"
BOOTSTRAP = """\
# In a checkout this finds the book's packages. On Colab it fetches them and what else Colab lacks, and leaves Colab's
# own packages as they are.
import importlib.util, pathlib, shutil, subprocess, sys

if importlib.util.find_spec("lotterybook") is None:
    here = pathlib.Path().resolve()
    checkouts = [place for place in (here, *here.parents) if (place / "lotterybook" / "__init__.py").exists()]
    folder = checkouts[0] if checkouts else here / "unmasking-winning-tickets"
    if not checkouts:
        url, branch = "{url}", "{branch}"
        if not url:
            raise ModuleNotFoundError("lotterybook: clone the book's repository and run `make book` there")
        if not folder.exists():
            unfinished = folder.with_suffix(".part")
            shutil.rmtree(unfinished, ignore_errors=True)
            clone = "git", "clone", "--quiet", "--depth", "1", "--branch", branch
            subprocess.run([*clone, url, unfinished], check=True)
            unfinished.rename(folder)
        needed = "mnist1d", "safetensors", "scipy", "tqdm"
        subprocess.run([sys.executable, "-m", "pip", "install", "-qq", "--no-deps", *needed], check=True)
    sys.path.insert(0, str(folder))"""

ROOT = Path(__file__).resolve().parent.parent
PAGES = (ROOT / "README.md", ROOT / "intro.md")
OVERVIEW, LANDSCAPE = (ROOT / "images" / name for name in ("overview.png", "landscape.png"))
NARROW = OVERVIEW.with_suffix(".narrow.png")  # which the page shows on a phone
_PICTURE, _DRAWN = (re.compile(rf"!\[[^\]]*\]\(images/{path.stem}\.png\)") for path in (OVERVIEW, LANDSCAPE))
_COLAB = re.compile(r"(<!-- colab -->\n).*?(<!-- /colab -->)", re.DOTALL)
_NO_SOURCES = {Path(__file__).with_name(name) for name in ("build.py", "exercises.py", "student.py")}  # of outputs
_NUMBER = re.compile(r'(<span data-value="([^"]+)">)(.*?)(</span>)', re.DOTALL)


def address(root=ROOT):
    """URL and branch at which the book is published, from its settings; the URL is empty before it is published."""
    repository = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))["repository"]
    return repository["url"], repository["branch"]


def bootstrap(url, branch) -> str:
    """The first cell of every chapter of a book that is published at ``url``, in ``branch``."""
    return BOOTSTRAP.replace("{url}", url).replace("{branch}", branch)


def fill(text, numbers) -> str:
    """Put the current value of each quoted number into a text. Raises ``ValueError`` for an unknown name."""

    def value(match):
        if match[2] not in numbers:
            near = ", ".join(difflib.get_close_matches(match[2], numbers, 5, 0)) or "no names"
            raise ValueError(f"the prose quotes {match[2]!r}, which is unknown; names like it are {near}")
        return f"{match[1]}{verdicts.inert(numbers[match[2]])}{match[4]}"

    return _NUMBER.sub(value, text)


def sources(notebook) -> str:
    """Hash of what the outputs of a chapter depend on: its cells, library and book, the published records."""
    cells = [[cell["cell_type"], "".join(cell["source"])] for cell in notebook["cells"]]
    packages = Path(lotterylib.__file__).parent, Path(__file__).parent
    code = sorted(path for package in packages for path in package.rglob("*.py") if path not in _NO_SOURCES)
    manifest = records.PUBLISHED / "manifest.json"
    return store.key([cells, [hashlib.sha256(path.read_bytes()).hexdigest() for path in [*code, manifest]]])


def refresh(path, numbers):
    """Execute a chapter and keep its outputs in place; without a change in its sources nothing is done."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    notebook.cells[0].source = bootstrap(*address())
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = fill(cell.source, numbers)
    if notebook.metadata.get("lotterybook", {}).get("sources") == sources(notebook):
        return
    os.environ["TQDM_DISABLE"] = "1"
    NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(path.parent)}}).execute()
    notebook.metadata.pop("widgets", None)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number:02d}"
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", ()):  # a stored widget would need its kernel; its picture stays
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
    captions.number_outputs(notebook, path.stem)
    notebook.metadata["lotterybook"] = {"sources": sources(notebook)}
    store.write_bytes(path, (nbformat.writes(notebook) + "\n").encode())
    print(f"executed {path.name}", flush=True)


def link_figures(path, numbers):
    """Write the numbers of figures into the links of a chapter's prose; its outputs stay those of its sources."""
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    current = notebook.metadata["lotterybook"]["sources"] == sources(notebook)
    before = [cell.source for cell in notebook.cells]
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = captions.fill(cell.source, numbers)
    if before != [cell.source for cell in notebook.cells]:
        if current:
            notebook.metadata["lotterybook"]["sources"] = sources(notebook)
        store.write_bytes(path, (nbformat.writes(notebook) + "\n").encode())


def front():
    """The drawing on the landing page and in the README."""
    tickets, barriers = winning_tickets("book"), successive_barriers("book")
    return overview.ticket(tickets, barriers, failing=0, winning=PRESETS["book"].tickets.control_step)


def colab(url, branch) -> str:
    """Links that open the published chapters in Colab; none before they are published."""
    if not url:
        return ""
    folder = f"{COLAB}/github/{url.removeprefix('https://github.com/')}/blob/{branch}/chapters"
    names = sorted(path.name for path in (ROOT / "chapters").glob("*.ipynb"))
    return "".join(f"- [{name}]({folder}/{name})\n" for name in names)


def page(text, numbers, alt, url, branch) -> str:
    """Put the current numbers, the links to Colab, and the pictures' alternative texts, into a page of Markdown."""
    text = captions.fill(fill(text, numbers), captions.numbers())
    text = _COLAB.sub(lambda match: match[1] + colab(url, branch) + match[2], text)
    text = _DRAWN.sub(lambda _: f"![{explorable.alt()}](images/landscape.png)", text)
    return _PICTURE.sub(lambda _: f"![{alt}](images/overview.png)", text)


def publish_at(url, branch="main", root=ROOT):
    """Write where the book is published into its settings, from which chapters take their first cell.

    Raises ``ValueError`` unless ``url`` is ``https://github.com/OWNER/REPOSITORY``, the only kind that Colab opens, and
    ``branch`` a plain name.
    """
    if not re.fullmatch(r"https://github\.com/[\w-]+/[\w.-]+(?<!\.git)", url):
        raise ValueError(f"url is {url!r}; it must be https://github.com/OWNER/REPOSITORY, for Colab")
    if not re.fullmatch(r"[\w./-]+", branch):
        raise ValueError(f"branch is {branch!r}; it must be a name of letters, digits and ._/-")
    path = root / "_config.yml"
    text = path.read_text(encoding="utf-8")
    owner, name = url.removeprefix("https://github.com/").split("/")
    pages = f"https://{owner.lower()}.github.io/{name}/"  # where GitHub Pages puts it
    for name, value in (
        ("url", f'"{url}"'), ("baseurl", f'"{pages}"'), ("branch", branch), ("colab_url", f'"{COLAB}"'),
        ("use_repository_button", "true"), ("use_issues_button", "true"),
    ):  # fmt: skip
        text = re.sub(f"(?m)^  {name}: .*", f"  {name}: {value}", text, count=1)
    store.write_bytes(path, text.encode())


def main(arguments=None):
    """Execute chapters whose sources or records changed, keep their outputs, and refresh README and landing page."""
    parser = argparse.ArgumentParser(prog="python -m lotterybook.build", description=main.__doc__)
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
    drawing, numbers = front(), claims.numbers()
    jobs.each([(path.stem, refresh, path, numbers) for path in options.paths], n_jobs=-1)
    for path in chapters:
        link_figures(path, captions.numbers())
    store.write_bytes(OVERVIEW, drawing.png())
    store.write_bytes(LANDSCAPE, explorable.still().png())
    store.write_bytes(NARROW, drawing.narrow())
    for path in PAGES:
        store.write_bytes(path, page(path.read_text(), numbers, drawing.alt, *address()).encode())


if __name__ == "__main__":
    main()
