"""What can be known about the book from its sources alone; ``check_built_book.py`` looks at the built pages."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import plain_sphinx
import pytest
import yaml
from built_book import find_chromium
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
VENDOR = ROOT / "_vendor" / "vendor"
OWN_SCRIPTS = {"widget-formulas.js"}


def pages():
    """Every page of the table of contents, as a path without its ending."""
    top = [chapter for part in TOC["parts"] for chapter in part["chapters"]]
    return [TOC["root"]] + [page["file"] for chapter in top for page in (chapter, *chapter.get("sections", ()))]


def source(page):
    """The one file that a page is made from."""
    found = [ROOT / f"{page}{ending}" for ending in (".ipynb", ".md") if (ROOT / f"{page}{ending}").exists()]
    assert len(found) == 1, f"{page} in _toc.yml must be one .ipynb or .md file, there are {len(found)}"
    return found[0]


def cells(page, kind):
    """The texts of a page's cells of one kind, ``markdown`` or ``code``; a .md file is one markdown cell."""
    path = source(page)
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return [text] if kind == "markdown" else []
    return ["".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == kind]


def notebooks():
    """The pages that are notebooks: chapters that run."""
    return [page for page in pages() if (ROOT / f"{page}.ipynb").exists()]


def test_contents_lists_every_chapter():
    listed = {source(page) for page in pages()}
    present = {path for ending in ("ipynb", "md") for path in (ROOT / "chapters").rglob(f"*.{ending}")}
    assert present <= listed, f"not in _toc.yml: {sorted(path.name for path in present - listed)}"


def test_way_out_of_jupyter_book():
    """Plain Sphinx gets the book's settings without what only Jupyter Book knows; `make exit` builds with them."""
    written = "extensions = ['jupyter_book', 'myst_nb']\nuse_multitoc_numbering = True\ntitle = 'x'\n"
    written += "html_static_path = ['_static']\nhtml_extra_path = []\nbibtex_bibfiles = ['a.bib']\n"
    made = {}
    exec(plain_sphinx.settings(written).replace("sys.path[:0]", "places"), made)
    assert made["extensions"] == ["myst_nb"] and made["title"] == "x" and "use_multitoc_numbering" not in made
    assert made["html_static_path"] == [str(ROOT / "_static")] and made["bibtex_bibfiles"] == [str(ROOT / "a.bib")]
    assert made["places"] == [str(ROOT / "_ext"), str(ROOT)]


def test_config_is_valid():
    from jupyter_book.config import get_default_sphinx_config, validate_yaml

    validate_yaml(CONFIG, raise_on_errors=True)
    sphinx = CONFIG["sphinx"]["config"]
    usual = set(get_default_sphinx_config()["extensions"]) - {"sphinx_thebe", "sphinx.ext.intersphinx"}
    assert usual <= set(sphinx["extensions"])
    assert CONFIG["execute"]["execute_notebooks"] == "force"
    assert CONFIG["repository"]["path_to_book"] == ""


def test_no_button_leads_nowhere():
    """There are buttons when, and only when, the notebooks that they open know where they are published."""
    from lotterybook import build

    url, branch = build.address()
    assert (CONFIG["repository"]["url"], CONFIG["repository"]["branch"]) == (url, branch)
    assert bool(CONFIG["launch_buttons"]["colab_url"]) == bool(url)
    if not url:
        assert not any(value for key, value in CONFIG["html"].items() if key.startswith("use_") and "button" in key)


def test_scripts_are_local():
    sphinx = CONFIG["sphinx"]["config"]
    for script in (sphinx["mathjax_path"], *sphinx["nb_ipywidgets_js"]):
        assert script.startswith("../vendor/") and (ROOT / "_vendor" / script[3:]).is_file(), script


def test_vendored_files_are_what_the_list_says():
    readme = (ROOT / "_vendor" / "README.md").read_text(encoding="utf-8")
    origin = r"`[^`]+` \| \d+\.\d+\.\d+ \| `[^`]+`[^|]*"  # package, version, file in it
    licence = r"[\w.-]+: `[^`]+\.LICENSE\.txt`[^|]*"
    row = rf"^\| `([^`]+)` \| {origin} \| {licence} \| `([0-9a-f]{{64}})` \|$"
    listed = dict(re.findall(row, readme, flags=re.MULTILINE))
    present = {path.name for path in VENDOR.iterdir() if not path.name.endswith(".LICENSE.txt")} - OWN_SCRIPTS
    assert set(listed) == present
    for name, checksum in listed.items():
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == checksum, name
    for name in re.findall(r"`([^`]+\.LICENSE\.txt)`", readme):
        assert (VENDOR / name).is_file(), name
    fonts = re.findall(r"[0-9a-f]{20}\.woff2", (VENDOR / "embed.js").read_text(encoding="utf-8"))
    assert fonts and set(fonts) <= present, "a font that a script asks for"
    own = [*(ROOT / "_static").iterdir(), *(ROOT / "_ext").glob("*.js"), *(VENDOR / name for name in OWN_SCRIPTS)]
    banner = r"(?i)@licen[cs]e|copyright|\(c\) *\d|sourceMappingURL"
    assert [path.name for path in own if re.search(banner, path.read_text(encoding="utf-8"))] == [], "whose is it?"


def test_references_are_complete():
    from pybtex.database import parse_file

    entries = parse_file(str(ROOT / "references.bib")).entries
    for key, entry in entries.items():
        assert entry.persons.get("author") and {"title", "year"} <= set(entry.fields), key
        assert entry.persons["author"][0].last_names[0].lower() in key and entry.fields["year"] in key, key


@pytest.mark.parametrize("page", pages())
def test_citations_exist(page):
    text = "\n".join(cells(page, "markdown"))
    known = set(re.findall(r"^@\w+\{([^,\s]+),", (ROOT / "references.bib").read_text(encoding="utf-8"), re.MULTILINE))
    cited = {key.strip() for keys in re.findall(r"\{footcite(?::[a-z]+)?\}`([^`]+)`", text) for key in keys.split(",")}
    assert cited <= known, f"not in references.bib: {sorted(cited - known)}"
    assert not re.search(r"\{cite(:[a-z]+)?\}`", text), "cite with {footcite:t} or {footcite:p}: a page lists its own"
    if cited:
        assert "{footbibliography}" in text, "a page that cites ends with a {footbibliography}"


@pytest.mark.parametrize("page", pages())
def test_tables_are_whole(page):
    for text in cells(page, "markdown"):
        assert re.findall(r"\n\n(\|.*)\n(?!\|[-:| ]+\|\n)", text) == [], "rows apart from the head of their table"


@pytest.mark.parametrize("page", notebooks())
def test_notebook_is_fit_for_the_book(page):
    content = json.loads(source(page).read_text(encoding="utf-8"))
    assert content["metadata"]["kernelspec"]["name"] == "python3"
    tagged = [cell for cell in content["cells"] if "parameters" in cell["metadata"].get("tags", [])]
    assert len(tagged) == 1, "one cell carries the tag `parameters`"
    parameters = {}
    exec("".join(tagged[0]["source"]), parameters)
    del parameters["__builtins__"]
    assert parameters == {"preset": "book", "recompute": False, "device": "auto"}


@pytest.mark.parametrize("page", pages())
def test_prose_names_no_colours(page):
    """The dark theme changes them, and not everybody tells them apart: lines have names, dashes and markers."""
    hues = r"\b(orange|purple|blue|green|red|yellow|violet|vermilion)\b"
    for text in cells(page, "markdown"):
        assert re.findall(hues, text, re.IGNORECASE) == []


def test_versions_agree():
    import lotterylib

    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["cff-version"] == "1.2.0"
    assert CONFIG["sphinx"]["config"]["version"] == citation["version"]
    assert re.search(r'^version = "([^"]+)"', project, re.MULTILINE)[1] == citation["version"] == lotterylib.__version__


def test_book_is_pinned_and_library_is_not():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    for line in filter(None, (line.split("#")[0].strip() for line in lines)):
        assert re.fullmatch(r"[\w.-]+==[\w.+]+(; python_version (<|>=) \"3\.\d+\")?", line), line
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert "==" not in project and "~=" not in project


def locked(python):
    """Versions by name that the lock gives a Python such as 3.12 on this system."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    entry = r"^(\S.*?)(?: \\\n    --hash=sha256:[0-9a-f]{64})+\n"
    assert re.sub(f"{entry}|^#.*\n", "", text, flags=re.MULTILINE) == "", "an entry without a hash, or another line"
    needed = map(Requirement, re.findall(entry, text, re.MULTILINE))
    asked = {"python_version": python, "python_full_version": f"{python}.9"}
    here = [one for one in needed if one.marker is None or one.marker.evaluate(asked)]
    versions = {canonicalize_name(one.name): str(one.specifier) for one in here}
    assert len(versions) == len(here) and not any(one.url for one in here)
    return versions


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
def test_the_lock_has_every_pin(python):
    versions = locked(python)
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    for pin in map(Requirement, filter(None, (line.split("#")[0].strip() for line in lines))):
        if pin.marker is None or pin.marker.evaluate({"python_version": python}):
            assert versions[canonicalize_name(pin.name)] == str(pin.specifier), "run `make lock`"


def test_the_lock_has_all_that_is_needed():
    """By what the installed packages say of themselves, from the pins on."""
    versions = locked(".".join(map(str, sys.version_info[:2])))
    pins = re.findall(r"^([\w.-]+)==", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)
    seen, left = set(), [canonicalize_name(name) for name in pins]
    while left:
        name = left.pop()
        assert name in versions, f"{name} is needed; run `make lock`"
        if name not in seen:
            seen.add(name)
            needs = map(Requirement, metadata.requires(name) or ())
            left += [canonicalize_name(n.name) for n in needs if not n.marker or n.marker.evaluate({"extra": ""})]
    assert len(seen) > 100


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_help_names_every_command():
    told = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)[1].split()
    assert [name for name in targets if name != "help" and f"make {name} " not in told] == []


def test_browser_is_there():
    if not find_chromium() and not os.environ.get("CI"):
        pytest.skip("no Chromium and no Chrome found: `make check` cannot open the built book")
    assert find_chromium()
