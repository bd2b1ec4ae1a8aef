"""Opens every chapter as Colab does and chooses *Run all*, twice in one kernel: `make colab`.

Colab itself needs a network and an account. Here its part is played by a virtual environment with the packages that it
is sure to have, an empty folder to start in, and a bare clone of this repository's last commit at the address that the
first cell names. pytest runs this file only when it is named, because it takes minutes.
"""

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import nbformat
import pytest
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient
from packaging.requirements import Requirement

from lotterybook import build

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = sorted((ROOT / "chapters").glob("*.ipynb"))
BOOKS = ("torch", "torchvision", "numpy", "matplotlib", "joblib")  # in the versions of requirements.txt
# Colab's versions of what runs a notebook and shows it: github.com/googlecolab/backend-info, August 2026.
COLABS = ("ipywidgets==7.7.1", "ipykernel==6.17.1", "ipython==7.34.0")
INSTALLED = {"mnist1d", "safetensors", "scipy", "tqdm"}  # Colab lacks only the first; here nothing is taken for granted
BRANCH = "published"
VIEW = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"
PACKAGES = """
import importlib.metadata, json
print(json.dumps([(one.name, one.version, str(one.locate_file(""))) for one in importlib.metadata.distributions()]))
"""
LOOK = """
import json, lotterylib, torch
from lotterybook.panes import Panes
panes = sum(isinstance(shown, Panes) for shown in Out.values())
print(json.dumps([lotterylib.__file__, torch.__file__, torch.__version__, panes]))
"""


def pins():
    """The environment's requirements, the book's own as ``requirements.txt`` has them for this Python."""
    lines = (line.split("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines())
    found = [Requirement(line) for line in lines if line]
    here = [one for one in found if one.name in BOOKS and (one.marker is None or one.marker.evaluate())]
    assert sorted(one.name for one in here) == sorted(BOOKS)
    return [f"{one.name}{one.specifier}" for one in here] + list(COLABS)


def surroundings():
    """The environment variables that a kernel of Colab's gets: nothing that leads to this checkout or to pytest."""
    ours = ("PYTHON", "PYTEST", "JUPYTER", "LOTTERYLIB", "TQDM", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def run(python, code, folder):
    """Run code in a process of its own; returns what it said."""
    return subprocess.check_output([python, "-c", code], cwd=folder, env=surroundings(), text=True)


def packages_of(python, folder):
    """Name, version and place of every package."""
    return {tuple(one) for one in json.loads(run(python, PACKAGES, folder))}


@pytest.fixture(scope="session")
def packages():
    """The folder of Colab's packages, made once for the same pins and Python."""
    folder, wanted = ROOT / "_build" / "colab", pins()
    stamp, python = folder / "pins.txt", folder / "bin" / "python"
    key = "\n".join([*wanted, sys.version])
    if not stamp.exists() or stamp.read_text() != key:
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        install = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", *wanted]
        subprocess.run(install, env=surroundings(), check=True)
        stamp.write_text(key)
    return next(folder.glob("lib/python*/site-packages"))


@pytest.fixture
def python(packages, tmp_path):
    """A Python that sees Colab's packages; what is installed with it goes to a folder of its own."""
    venv.create(tmp_path / "machine", symlinks=True)
    next((tmp_path / "machine").glob("lib/python*/site-packages")).joinpath("colab.pth").write_text(str(packages))
    return tmp_path / "machine" / "bin" / "python"


@pytest.fixture
def content(tmp_path):
    """The empty folder that Colab starts in."""
    folder = tmp_path / "content"
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def address(tmp_path_factory):
    """The address of the published repository: what is committed here, on a branch that is not the default one."""
    bare = tmp_path_factory.mktemp("published") / "book.git"
    subprocess.run(["git", "clone", "--quiet", "--bare", ROOT, bare], check=True)
    for command in (f"update-ref refs/heads/{BRANCH} HEAD", "symbolic-ref HEAD refs/heads/unborn"):
        subprocess.run(["git", *command.split()], cwd=bare, check=True)
    return bare.as_uri()


def published(source, address):
    """The first cell as it is once the book is published at ``address``."""
    here = 'url, branch = "{}", "{}"'.format(*build.address())
    assert source.count(here) == 1
    return source.replace(here, f'url, branch = "{address}", "{BRANCH}"')


def run_all(cells, python, folder):
    """Execute cells in one kernel of ``python``; returns them as a notebook."""
    specification = folder.parent / "kernels" / "colab" / "kernel.json"
    specification.parent.mkdir(parents=True)
    command = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    specification.write_text(json.dumps({"argv": command, "display_name": "Colab", "language": "python"}))
    specs = KernelSpecManager(kernel_dirs=[str(specification.parent.parent)], ensure_native_kernel=False)
    manager = AsyncKernelManager(kernel_name="colab", kernel_spec_manager=specs)
    made = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(made, manager, timeout=900).execute(cwd=str(folder), env=surroundings(), cleanup_kc=True)
    return made


def pictured(cell):
    """How many pictures a cell shows, all of them described."""
    about = [output.metadata["image/png"] for output in cell.outputs if "image/png" in output.get("data", {})]
    assert all(one["alt"] for one in about)
    return len(about)


def pictures_in(model, state):
    """How many pictures a widget holds."""
    own = state[model]["state"]
    children = [child.removeprefix("IPY_MODEL_") for child in own.get("children", ())]
    return ("<img" in str(own.get("value"))) + sum(pictures_in(child, state) for child in children)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_chapter_runs_twice(path, python, content, address):
    """No error, nothing said that would frighten, the pictures of the book; and PyTorch is Colab's own."""
    stored = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    sources = [published(stored[0].source, address), *(cell.source for cell in stored[1:])]
    first, second = ([nbformat.v4.new_code_cell(source) for source in sources] for _ in range(2))
    look = nbformat.v4.new_code_cell(LOOK)
    before = packages_of(python, content)
    made = run_all([*first, *second, look], python, content)

    shown = [output for cell in made.cells for output in cell.outputs]
    assert [one for one in shown if one.output_type == "error" or one.get("name") == "stderr"] == []
    for kept, once, again in zip(stored, first, second, strict=True):
        assert pictured(once) == pictured(again) == pictured(kept)
    library, torch, version, panes = json.loads(look.outputs[0].text)
    assert Path(library).is_relative_to(content)
    assert (str(Path(torch).parent.parent), version) in {(place, version) for name, version, place in before}
    after = packages_of(python, content)
    assert before <= after and {name for name, *_ in after - before} == INSTALLED

    results = [one.data for one in shown if one.get("metadata", {}).get("figure")]  # a progress bar is none
    views = [data[VIEW]["model_id"] for data in results if VIEW in data]
    assert len(views) == panes
    assert all(pictures_in(model, made.metadata.widgets[STATE]["state"]) > 1 for model in views)


def test_the_first_cell_can_be_run_again(python, content, address):
    """After an interruption, in a new kernel, in another chapter; and it stays away from a checkout."""
    first = build.bootstrap(address, BRANCH)
    code = f"{first}\nimport lotterybook, lotterylib, mnist1d\nprint(lotterylib.__file__)"
    place = str(content / "unmasking-winning-tickets")
    (content / "unmasking-winning-tickets.part" / ".git").mkdir(parents=True)  # of a clone that was stopped
    assert run(python, code, content).strip().startswith(place)
    assert os.listdir(content) == ["unmasking-winning-tickets"]
    nowhere = code.replace(address, "file:///nowhere")
    assert run(python, nowhere, content).strip().startswith(place)

    with pytest.raises(subprocess.CalledProcessError):
        run(python, nowhere, content.parent)
    assert "unmasking-winning-tickets" not in os.listdir(content.parent)
    shutil.rmtree(content / "unmasking-winning-tickets")
    checkout = f"import sys\nsys.path.append({str(ROOT)!r})\n{nowhere}"
    assert run(python, checkout, content).strip().startswith(str(ROOT)) and os.listdir(content) == []


def test_the_button_opens_the_committed_chapter(address, tmp_path):
    """A published book, built from the outputs that it holds."""
    book, url = tmp_path / "book", "https://github.com/someone/a.book"
    subprocess.run(["git", "clone", "--quiet", "--branch", BRANCH, address, book], check=True)
    build.publish_at(url, BRANCH, book)
    settings = book / "_config.yml"
    settings.write_text(settings.read_text().replace("execute_notebooks: force", 'execute_notebooks: "off"'))
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", book]
    subprocess.run(command, env=surroundings() | {"PYTHONPATH": str(book)}, check=True)
    for path in CHAPTERS:
        button = f"https://colab.research.google.com/github/someone/a.book/blob/{BRANCH}/chapters/{path.name}"
        assert f'href="{button}"' in (book / "_build" / "html" / "chapters" / f"{path.stem}.html").read_text()
