"""Workflows, hooks and the development container: what they call is there, and they may do no more than they must."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lotterybook import build

ROOT = Path(__file__).resolve().parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)[1].split()
WRITING = {  # every right to write that a job has
    ("publish", "branch"): {"contents"},
    ("publish", "deploy"): {"pages", "id-token"},
    ("weekly", "links"): {"issues"},
    ("weekly", "newest"): {"issues"},
    ("weekly", "oldest"): {"issues"},
    ("weekly", "exit"): {"issues"},
    ("weekly", "audit"): {"issues"},
    ("weekly", "soak"): {"issues"},
}


def load(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def jobs():
    return [
        pytest.param(path.stem, name, id=f"{path.stem}-{name}") for path in WORKFLOWS for name in load(path)["jobs"]
    ]


def job(workflow, name):
    return load(ROOT / ".github" / "workflows" / f"{workflow}.yml")["jobs"][name]


def commands(workflow, name):
    return [step["run"] for step in job(workflow, name)["steps"] if "run" in step]


def test_there_are_the_workflows():
    assert [path.stem for path in WORKFLOWS] == ["publish", "test", "weekly"]
    events = {path.stem: load(path)[True] for path in WORKFLOWS}  # YAML reads the key `on` as true
    assert "pull_request" in events["test"]
    assert events["test"]["push"] == events["publish"]["push"] == {"branches": ["main"]}
    assert re.fullmatch(r"\d+ \d+ \* \* [0-6]", events["weekly"]["schedule"][0]["cron"])


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_reads_only_and_knows_no_secret(path):
    workflow = load(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"]["group"]
    assert set(re.findall(r"secrets\.(\w+)", path.read_text(encoding="utf-8"))) <= {"GITHUB_TOKEN"}


@pytest.mark.parametrize(("workflow", "name"), jobs())
def test_a_job_may_write_only_what_it_must_and_ends(workflow, name):
    here = job(workflow, name)
    rights = here.get("permissions", {})
    assert {right for right, kind in rights.items() if kind != "read"} == WRITING.get((workflow, name), set())
    assert here["timeout-minutes"] <= 120


@pytest.mark.parametrize(("workflow", "name"), jobs())
def test_a_job_calls_what_is_there(workflow, name):
    for step in job(workflow, name)["steps"]:
        assert ("uses" in step) != ("run" in step)
        if "uses" in step:
            continue
        program, *arguments = shlex.split(step["run"])
        if program == "make":
            assert arguments[0] in TARGETS
            continue
        assert program in (".ci/push", ".ci/report") and os.access(ROOT / program, os.X_OK)
        if program == ".ci/report":
            assert step["if"] == "failure()" and "GH_TOKEN" in step["env"]


def test_an_action_is_one_commit_and_says_of_which_release():
    """A tag can be moved to other code; GitHub's own actions are the only ones."""
    used = [line for path in WORKFLOWS for line in re.findall("uses: (.*)", path.read_text(encoding="utf-8"))]
    assert all(re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", line) for line in used), used
    assert len({line.split("@")[0] for line in used}) == len(set(used)), "one action, two releases"


def test_every_python_that_is_supported_is_tested():
    versions = job("test", "test")["strategy"]["matrix"]["python"]
    assert all(isinstance(version, str) for version in versions)  # 3.10 without quotes is 3.1
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert versions[0] == re.search(r'^requires-python = ">=(.*)"$', project, re.MULTILINE)[1]
    assert versions == [f"3.{10 + number}" for number in range(len(versions))]
    assert commands("test", "test") + commands("test", "colab") == [
        "make test", "make book", "make print", "make check", "make colab",
    ]  # fmt: skip


def test_what_is_published_was_tested_with_its_own_address():
    first, *others = commands("publish", "build")
    here = "${{ github.server_url }}/${{ github.repository }}"
    assert first == f"make publish-url URL={here} BRANCH=published"
    assert others == ["make test", "make book", "make print", "make check"]
    assert job("publish", "build")["if"] == "github.ref == 'refs/heads/main'"
    assert job("publish", "build")["env"] == {"PINS": "requirements.lock"}
    assert commands("publish", "branch") == [".ci/push published"]
    sources, pages = (step["with"] for step in job("publish", "build")["steps"][-2:])
    assert pages == {"path": "_build/html"}
    assert all((ROOT / path).exists() for path in sources["path"].split())
    assert job("publish", "branch")["needs"] == "build" and job("publish", "deploy")["needs"] == "branch"


def said(folder, *command):
    return subprocess.run(["git", *command], cwd=folder, check=True, capture_output=True, text=True).stdout


def test_the_branch_is_the_commit_with_its_address(tmp_path):
    """Pushed from a shallow clone, as a workflow has it, in place of what was there."""
    origin, here = tmp_path / "origin", tmp_path / "here"
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "--quiet", "--initial-branch=main", origin], check=True)
    for text in ("first", "second"):
        (origin / "page").write_text(text)
        subprocess.run([*git, "add", "page"], cwd=origin, check=True)
        subprocess.run([*git, "commit", "--quiet", "--message", text], cwd=origin, check=True)
    for address in ("one", "two"):
        subprocess.run(["git", "clone", "--quiet", "--depth=1", origin.as_uri(), here / address], check=True)
        (here / address / "page").write_text(address)
        subprocess.run([ROOT / ".ci" / "push", "published"], cwd=here / address, check=True)
        subject, *before = said(origin, "log", "--format=%s", "published").splitlines()
        assert subject.startswith("The book as it is published") and before == ["second", "first"]
        assert said(origin, "show", "published:page") == address
        assert said(origin, "show", "main:page") == "second"


def test_links_and_newest_dependencies_are_tried_every_week():
    names = [name for workflow, name in (param.values for param in jobs()) if workflow == "weekly"]
    tried = {name: commands("weekly", name)[:-1] for name in names}
    assert tried == {"links": ["make links"], "newest": ["make newest", "make smoke", "make book"],
                     "oldest": ["make oldest"], "exit": ["make exit"], "audit": ["make audit"],
                     "soak": ["make soak"]}  # fmt: skip
    for name in tried:
        *steps, report = [step for step in job("weekly", name)["steps"] if "run" in step]
        assert report["run"].startswith(".ci/report ")
        assert all("timeout-minutes" in step for step in steps), "a step out of time fails; a job is cancelled"


@pytest.mark.parametrize("open_issue", ["", "12"])
def test_a_failure_opens_one_issue(open_issue, tmp_path):
    """With a ``gh`` that says which issue is open, and notes what else it is asked for."""
    program, notes = tmp_path / "gh", tmp_path / "notes"
    program.write_text(f'#!/bin/sh\nif [ "$2" = list ]; then echo "{open_issue}"; else echo "$@" >> "{notes}"; fi\n')
    program.chmod(0o755)
    settings = {"GITHUB_SERVER_URL": "https://example.org", "GITHUB_REPOSITORY": "some/book", "GITHUB_RUN_ID": "7"}
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    command = [ROOT / ".ci" / "report", "It fails"]
    subprocess.run(command, env={**os.environ, **settings, "PATH": path}, check=True)
    said = notes.read_text()
    assert said.startswith("issue comment 12 " if open_issue else "issue create --title It fails ")
    assert said.count("issue") == 1 and "https://example.org/some/book/actions/runs/7" in said


def test_hooks_run_in_the_environment_of_the_book():
    """So their versions are those of requirements.txt."""
    pins = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    found = []
    for repository in load(ROOT / ".pre-commit-config.yaml")["repos"]:
        assert repository["repo"] == "local"
        for hook in repository["hooks"]:
            assert hook["language"] == "system"
            python, dash_m, module, *rest = shlex.split(hook["entry"])
            assert (python, dash_m) == (".venv/bin/python", "-m") and f"\n{module}==" in pins
            found.append(" ".join([module, *rest[:1]]))
    assert found == ["ruff check", "ruff format", "pytest -q"]


def test_the_hook_for_notebooks_is_a_test_that_is_there():
    hook = load(ROOT / ".pre-commit-config.yaml")["repos"][0]["hooks"][-1]
    *_, file, _, name = shlex.split(hook["entry"])
    assert f"\ndef {name}(" in (ROOT / file).read_text(encoding="utf-8")
    changed = (
        "chapters/01_winning_tickets.ipynb", "lotterylib/training.py", "lotterybook/limits/figures.py",
        "records/manifest.json",
    )  # fmt: skip
    assert all((ROOT / path).exists() and re.search(hook["files"], path) for path in changed)


def test_the_development_container_makes_the_environment():
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    program, target = container["postCreateCommand"].split()
    assert program == "make" and target in TARGETS
    assert re.fullmatch(r"python:3\.\d+", container["image"])
    assert container["onCreateCommand"].split()[-1] == "chromium"  # for make check and make print


@pytest.mark.parametrize("folder", ["chapters", "", "_ext/deep"])
def test_the_first_cell_finds_the_book_above_it(folder, tmp_path):
    """In a checkout, from where a chapter's kernel starts or an editor does; and without one it says what to do."""
    checkout = tmp_path / "checkout"
    (checkout / folder).mkdir(parents=True)
    (checkout / "lotterybook").mkdir()
    (checkout / "lotterybook" / "__init__.py").write_text("")
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    code = build.bootstrap("", "main") + "\nimport lotterybook\nprint(lotterybook.__file__)"

    def run(place):
        return subprocess.run([sys.executable, "-c", code], cwd=place, env=clean, capture_output=True, text=True)

    assert run(checkout / folder).stdout.strip() == str(checkout / "lotterybook" / "__init__.py")
    if not folder:
        assert "clone the book's repository and run `make book` there" in run(tmp_path).stderr
