"""Every chapter runs, and what is committed is what it shows: outputs, quoted numbers, first cell."""

import json
import re
import sys
from operator import attrgetter
from pathlib import Path

import nbformat
import papermill
import pytest
import torch
import yaml
from papermill.translators import papermill_translators

from lotterybook import build, captions, claims, exercises, experiment, records, student, verdicts
from lotterybook.scale import blocks
from lotterylib import data, imp, sgd
from lotterylib.states import select

ROOT = Path(__file__).resolve().parent.parent


def toc_files():
    """The sources of every page, from the table of contents."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    top = [chapter for part in toc.get("parts", [toc]) for chapter in part["chapters"]]
    entries = [entry for chapter in top for entry in (chapter, *chapter.get("sections", ()))]
    return [next(ROOT.glob(f"{name}.*")) for name in [toc["root"], *(entry["file"] for entry in entries)]]


CHAPTERS = [path for path in toc_files() if path.suffix == ".ipynb"]
WIDE = 76  # characters of a line of code that the page shows without scrolling
PROSE = [*toc_files(), ROOT / "README.md"]


def cells(path):
    return json.loads(path.read_text())["cells"]


def prose(path):
    """The text of a page: its Markdown cells, or the file."""
    if path.suffix != ".ipynb":
        return path.read_text()
    return "\n\n".join("".join(cell["source"]) for cell in cells(path) if cell["cell_type"] == "markdown")


@pytest.fixture(scope="session")
def numbers():
    return claims.numbers()


@pytest.fixture(scope="module")
def smoke_runs(tmp_path_factory):
    """A folder for what chapters compute: each takes up what those before it have made, as in a reader's checkout."""
    return tmp_path_factory.mktemp("runs")


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_chapter_runs_in_smoke(path, tmp_path, smoke_runs, monkeypatch):
    """As the student edition, with the reference solutions put back; the checks of each task refuse its gaps before."""
    monkeypatch.setenv("LOTTERYLIB_RUNS", str(smoke_runs))
    monkeypatch.setenv("TQDM_DISABLE", "1")
    chapter = nbformat.from_dict(student.edition(json.loads(path.read_text()), solved=True))
    solved, refused = (
        [cell for cell in chapter.cells if tag in cell.metadata.get("tags", ())] for tag in ("solution", "refused")
    )
    assert len(exercises.read(path)) >= 4 and solved and refused, "one exercise at least has marks and checks"
    nbformat.write(chapter, tmp_path / path.name)
    done = papermill.execute_notebook(
        tmp_path / path.name, tmp_path / f"done_{path.name}", {"preset": "smoke"}, kernel_name="python3",
        cwd=path.parent, execution_timeout=900, progress_bar=False,
    )  # fmt: skip
    for cell in (cell for cell in done.cells if "refused" in cell.metadata.get("tags", ())):
        assert "refused: " in "".join(output.get("text", "") for output in cell.outputs)
    outputs = [output for cell in done.cells if cell.cell_type == "code" for output in cell.outputs]
    alts = [output.metadata["image/png"]["alt"] for output in outputs if "image/png" in output.get("data", {})]
    assert alts and all(alts)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_outputs_are_those_of_the_sources(path):
    stored = json.loads(path.read_text())
    assert stored["metadata"]["lotterybook"]["sources"] == build.sources(stored), "run `make chapters`"
    assert "widgets" not in stored["metadata"]
    code = [cell for cell in stored["cells"] if cell["cell_type"] == "code"]
    outputs = [output for cell in code for output in cell["outputs"]]
    assert all(output["output_type"] != "error" and output.get("name") != "stderr" for output in outputs)
    assert not any("widget" in mime for output in outputs for mime in output.get("data", {}))
    assert outputs


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_every_kept_figure_has_its_caption_with_its_number(path):
    """A notebook keeps one picture of each figure and no data; its number is that of the chapter's title."""
    stored = json.loads(path.read_text())
    outputs = [output for cell in stored["cells"] for output in cell.get("outputs", ())]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    kept = captions.captions(stored)
    assert [picture["metadata"]["figure"] for picture in pictures] == [text["metadata"]["caption"] for text in kept]
    assert not any(captions.PARTS in output.get("data", {}) for output in outputs)
    title = re.search(r"^# (\d+)\. ", "".join(stored["cells"][1]["source"]))[1]
    for place, text in enumerate(kept, 1):
        written = "".join(text["data"]["text/markdown"])
        assert re.match(rf"\*\*Figure {title}\.{place}\.\*\* \S.*\.$", written), written


@pytest.mark.parametrize("path", PROSE, ids=lambda path: path.name)
def test_links_to_figures_have_their_numbers(path):
    text = prose(path)
    assert captions.fill(text, captions.numbers()) == text, "run `make chapters`"


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_chapter_has_its_form(path):
    first, *others = [cell for cell in cells(path) if cell["cell_type"] == "code"]
    assert "".join(first["source"]) == build.bootstrap(*build.address())
    assert "".join(first["source"]).count("\n") < 30
    assert all("".join(cell["source"]).count("\n") < 15 for cell in others)
    assert [line for cell in others for line in cell["source"] if len(line.rstrip()) > WIDE] == []


CODE = "__import__('pathlib').Path('mark').touch()"
WRONG = [
    ("preset", "nope"), ("preset", "medum"), ("preset", 3), ("preset", None), ("preset", ["book"]),
    ("preset", {"book": "book"}), ("preset", float("nan")), ("preset", "../../etc/passwd"), ("preset", "book\0"),
    ("preset", "z" * 10**6), ("preset", CODE), ("preset", f'"; {CODE}; "'), ("preset", f"book\n{CODE}"),
    ("recompute", "False"), ("recompute", "True"), ("recompute", 0), ("recompute", CODE), ("recompute", "z" * 10**6),
    ("device", "gpu"), ("device", None), ("device", "/dev/null"), ("device", ["cpu"]), ("device", f"cpu'); {CODE}; ('"),
    ("device", "cuda" + "z" * 10**6),
]  # fmt: skip


@pytest.mark.parametrize(("name", "wrong"), WRONG, ids=lambda value: repr(value)[:30])
@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_names_a_wrong_parameter(path, name, wrong, tmp_path, monkeypatch):
    """As papermill writes it into the cell that it inserts; before anything is computed, and nothing in it is run."""
    monkeypatch.chdir(tmp_path)
    code = [cell for cell in cells(path) if cell["cell_type"] == "code"]
    (number,) = [i for i, cell in enumerate(code) if "parameters" in cell["metadata"].get("tags", ())]
    namespace = {}
    exec("".join(code[number]["source"]), namespace)
    assert (namespace["preset"], namespace["recompute"], namespace["device"]) == ("book", False, "auto")
    exec(papermill_translators.find_translator("python3", "python").codify({name: wrong}), namespace)
    with pytest.raises(ValueError, match=f"^{name} is ") as refused:
        exec("".join(code[number + 1]["source"]), namespace)
    told = str(refused.value)
    assert re.search("allowed (here )?are|must be True or False", told) and len(told) < 600
    assert repr(wrong)[:20].strip("'\"") in told and not list(tmp_path.iterdir())


def test_papermill_stops_where_a_parameter_is_wrong(tmp_path):
    """In a kernel of its own, at the first cell behind the parameters; the code in the text would leave a mark."""
    mark, path = tmp_path / "mark", CHAPTERS[-1]
    code = CODE.replace("mark", str(mark))
    with pytest.raises(papermill.PapermillExecutionError) as stopped:
        papermill.execute_notebook(
            path, tmp_path / "done.ipynb", {"preset": f'book"; {code}; "'}, kernel_name="python3", cwd=path.parent,
            execution_timeout=300, progress_bar=False,
        )  # fmt: skip
    assert stopped.value.ename == "ValueError" and stopped.value.evalue.startswith("preset is 'book\"; __import__")
    assert not mark.exists()
    run = [cell for cell in cells(tmp_path / "done.ipynb") if cell["cell_type"] == "code" and cell["execution_count"]]
    assert len(run) == 4  # the bootstrap, the parameters, those of papermill, and the one that refuses them
    exec(code)
    assert mark.exists(), "the test's own premise: the code leaves a mark"


@pytest.mark.parametrize("path", PROSE, ids=lambda path: path.name)
def test_quoted_numbers_are_those_of_the_records(path, numbers):
    text = prose(path)
    assert build.fill(text, numbers) == text, "run `make chapters`"


def test_overview_is_that_of_the_records(numbers):
    drawing = build.front()
    if sys.version_info >= (3, 11):  # with the older Matplotlib of Python 3.10 it differs by a hair
        assert build.OVERVIEW.read_bytes() == drawing.png(), "run `make chapters`"
        assert build.LANDSCAPE.read_bytes() == build.explorable.still().png(), "run `make chapters`"
        assert build.NARROW.read_bytes() == drawing.narrow(), "run `make chapters`"
    for path in build.PAGES:
        filled = build.page(path.read_text(), numbers, drawing.alt, *build.address())
        assert filled == path.read_text(), "run `make chapters`"


def test_a_wrong_or_unknown_number_is_noticed(numbers):
    name = next(iter(numbers))
    assert build.fill(f'<span data-value="{name}">17</span>', numbers).count(verdicts.inert(numbers[name])) == 1
    with pytest.raises(ValueError, match="no such number"):
        build.fill('<span data-value="no such number">17</span>', numbers)


def test_every_figure_is_drawn_from_a_record_with_its_provenance():
    for name in experiment.experiments_of("book"):
        about = experiment.recorded(name, "book").about
        assert about["device"] and about["date"] and about["versions"]["torch"] and about["seconds"] >= 0


PUBLISHED = sorted(path.parent.name for path in records.PUBLISHED.glob("*/winning_tickets.safetensors"))  # presets


def test_published_files_are_whole_and_listed():
    files = {path for path in records.PUBLISHED.rglob("*") if path.is_file()} - {records.PUBLISHED / "manifest.json"}
    assert files and all(records.is_published(path) for path in files)
    assert {path.relative_to(records.PUBLISHED).as_posix() for path in files} == set(records._manifest())
    assert sum(path.stat().st_size for path in files) < 15e6
    others = {path for path in files if path.relative_to(records.PUBLISHED).parts[0] not in PUBLISHED}
    assert others <= {records.PUBLISHED / blocks.PRESET / f"{blocks.NAME}.safetensors"}  # of lent GPUs: test_scale.py


@pytest.mark.parametrize("preset", PUBLISHED)
def test_published_records_are_those_of_today_s_settings(preset):
    """Each file of an experiment, by the key that a reader's chapter looks for."""
    shared = experiment.setup(preset, device="cpu")
    for path in (records.PUBLISHED / preset).glob("*.safetensors"):
        needs = claims.EXPERIMENTS[path.stem][1]
        settings = {need: attrgetter(need)(shared.preset) for need in needs}
        assert records.published(path.stem, preset, settings, shared.digest) is not None
    assert list(records.published_runs(preset)) == ["imp_main"] * shared.preset.weights


@pytest.mark.parametrize("preset", PUBLISHED)
def test_measurements_on_the_published_run_come_out_again(preset, monkeypatch):
    """The error of a level and one successive barrier from the recorded weights, with today's library.

    Nothing is trained, so they agree but for a few examples that lie on the boundary between two classes, which another
    machine's rounding moves.
    """
    shared = experiment.setup(preset, device="cpu")
    if shared.digest is None:
        monkeypatch.setattr(data.import_torchvision().datasets.mnist, "download_and_extract_archive", no_download)
        try:
            assert shared.ds
        except FileNotFoundError:
            pytest.skip(f"{shared.preset.dataset} is not on this machine")
    with monkeypatch.context() as patch:
        patch.setattr(imp, "run", None)  # the published one serves
        run = shared.run()
    tickets = experiment.recorded("winning_tickets", preset, device="cpu")
    lines = experiment.recorded("successive_barriers", preset, device="cpu")
    few, level = 3.5 / len(shared.ds.test_y), len(run) // 2
    one = [len(run.seeds) - 1]
    a, b = (select(run[n].state, one) for n in (level, level + 1))
    assert abs(shared.error(a) - tickets["error"][level].flatten()[one]) <= few
    assert abs(shared.barrier(a, b).height - lines["height"][level].flatten()[one]) <= 2 * few


def no_download(*_, **__):
    raise OSError("no download in a test")


def test_a_slice_of_the_record_comes_out_again():
    """One replicate, dense and first level, trained anew: the recorded rewind point, and about the recorded errors.

    Training is chaotic: another machine, or another number of replicates, rounds differently and ends elsewhere in the
    same valley. So errors are compared within the spread of replicates, and masks must agree on more weights than the
    0.8 * 0.8 + 0.2 * 0.2 = 68 % of two unrelated ones, by seven standard deviations of those.
    """
    setup = experiment.setup("book")
    recorded, config = setup.run(), setup.preset.main.config
    seed, step = 0, config.rewind_step[2]
    here = recorded.at(step)
    slice_ = imp.Config(config.recipe, step, levels=1, replicates=1, seed=config.seed + seed)
    fresh = imp.run(setup.net(), setup.ds, slice_)
    rewind = select(here.rewind, [seed])
    for name in setup.net().parameters:
        torch.testing.assert_close(fresh.rewind[name], rewind[name], rtol=0.05, atol=0.02)
    for level in (0, 1):
        assert abs(float(fresh[level].error[0] - here[level].error[seed])) < 0.015
    same = sum(int((fresh[1].mask[n][0] == here[1].mask[n][seed]).sum()) for n in here[1].mask)
    assert same / sum(m[0].numel() for m in here[1].mask.values()) > 0.71


def test_publishing_sets_the_address_everywhere(tmp_path):
    """Twice, since a fork's workflow finds the address of the original."""
    (tmp_path / "_config.yml").write_text((ROOT / "_config.yml").read_text())
    for url, branch in (("https://github.com/of/another", "main"), ("https://github.com/someone/a.book", "published")):
        build.publish_at(url, branch, tmp_path)
        settings = yaml.safe_load((tmp_path / "_config.yml").read_text())
        assert settings["repository"] == {"url": url, "path_to_book": "", "branch": branch}
        assert settings["launch_buttons"]["colab_url"].startswith("https://")
        assert settings["html"]["use_repository_button"] is settings["html"]["use_issues_button"] is True
        assert re.fullmatch(r"https://[a-z]+\.github\.io/[\w.]+/", settings["html"]["baseurl"])
        assert build.address(tmp_path) == (url, branch)
        assert f'url, branch = "{url}", "{branch}"\n' in build.bootstrap(url, branch)
    for wrong in ("", "not an address", "https://example.org/someone/book", f"{url}.git", f"{url}/", f'{url}"'):
        with pytest.raises(ValueError, match="https"):
            build.publish_at(wrong, "main", tmp_path)
    with pytest.raises(ValueError, match="branch"):
        build.publish_at(url, 'a"b', tmp_path)


def test_readme_links_to_colab_once_published(numbers):
    text = (ROOT / "README.md").read_text()
    assert "colab.research" not in text or build.address()[0]
    page = build.page(text, numbers, "", "https://github.com/someone/a.book", "published")
    links = re.findall(r"\]\((https://colab.*?)\)", page)
    start = "https://colab.research.google.com/github/someone/a.book/blob/published/chapters/"
    assert links == [start + path.name for path in sorted(CHAPTERS)]


def test_readme_example_runs(tmp_path, monkeypatch):
    """The lines on one's own network, with fewer steps: interrupted, taken up, one level more, and out as a module."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    example = next(block for block in blocks if "networks.wrap" in block)
    lines = example.splitlines()
    assert len(lines) <= 25 and max(map(len, lines)) <= WIDE
    short = compile(example.replace("1500", "30").replace("rewind_step=100", "rewind_step=5"), "README", "exec")
    ends, update, steps = [], sgd.Group.update, []

    def counted(group):
        steps.append(1)
        if len(steps) == 130:
            raise KeyboardInterrupt
        update(group)

    for folder in ("whole", "interrupted"):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        namespace = {}
        if folder == "interrupted":
            with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
                patch.setattr(sgd.Group, "update", counted)
                exec(short, {})
        exec(short, namespace)
        ends.append(namespace)
    runs = [namespace["run"] for namespace in ends]
    assert len(runs[0]) == 4 and len(list(Path("runs/mine").iterdir())) == 1
    for one, two in zip(runs[0].levels, runs[1].levels, strict=True):
        assert all(torch.equal(one.state[name], two.state[name]) for name in one.state)
    module, ds = ends[0]["Mine"](), ends[0]["ds"]
    module.load_state_dict(torch.load("ticket.pt"))
    wrong = (module.eval()(ds.test_x).argmax(1) != ds.test_y).double().mean()
    assert float(wrong) == pytest.approx(float(runs[0][3].error[0]))
