# Unmasking Winning Tickets. `make help` lists what there is.
# Needs Python 3.10 or newer and make; everything else goes into a virtual environment.

PYTHON ?= python3
VENV   ?= .venv
PINS   ?= requirements.txt
PRESET ?= book
ONLY   ?=
BRANCH ?= main

PY := "$(VENV)/bin/python"
JUPYTER_BOOK := $(PY) -c "from jupyter_book.cli.main import main; main()"

# The kernel that runs the chapters is the environment's own, whatever else the machine has.
export JUPYTER_PREFER_ENV_PATH := 1
export JUPYTER_PATH :=
export PYDEVD_DISABLE_FILE_VALIDATION := 1
# Threads that wait do not spin: on a busy machine that costs a factor of ten.
export OMP_WAIT_POLICY := passive
export PIP_USER := no
unexport PYTHONPATH PYTHONHOME

.DEFAULT_GOAL := help
.PHONY: help setup book print student exit check colab test soak smoke lint links newest oldest lock sbom audit chapters publish-url records findings clean distclean

help:
	@echo "make book       build the book: executes every chapter, result in _build/html"
	@echo "make print      the book as a PDF and as an EPUB, in _build/book.pdf and book.epub (needs Chromium)"
	@echo "make student    every chapter as a notebook with its exercises open, in _build/student"
	@echo "make test       run the linter and all tests"
	@echo "make soak       the long forms of tests (interruption, damage, hostile files, any input); their tables go into the book"
	@echo "make check      open every page of the built book in Chromium and test it (after make book)"
	@echo "make colab      run every chapter as Colab would, in an environment with Colab's packages only"
	@echo "make smoke      run every chapter and every solution in seconds each (make test does it too)"
	@echo "make chapters   execute the changed chapters and keep their outputs: ONLY=\"files\" for some"
	@echo "make publish-url URL=https://...   set the address of the published repository, BRANCH=main: buttons, first cells"
	@echo "make records    run the experiments again: PRESET=smoke|book|medium|paper, ONLY=\"names\" for some"
	@echo "make findings   print what the records of a preset say, claim by claim: PRESET=book"
	@echo "make lint       run the linter"
	@echo "make links      try every link of the book that leads to another host"
	@echo "make newest     the newest versions of what lotterylib uses, in place of the pins; make distclean undoes it"
	@echo "make exit       build the book with the newest Sphinx alone, without Jupyter Book (an environment of its own)"
	@echo "make oldest     the library's own tests with the lowest versions that pyproject.toml allows (an environment of its own)"
	@echo "make lock       write requirements.lock: requirements.txt and all that it needs, by hash (an environment of its own)"
	@echo "make sbom       the bill of materials of the environment, in _build/sbom.cdx.json (CycloneDX)"
	@echo "make audit      ask whether a package of requirements.lock has a known vulnerability"
	@echo "make setup      make the virtual environment; all of the above do it by themselves"
	@echo "make clean      remove what building and testing left (not the environment, not runs/)"
	@echo "make distclean  remove the environment too (still not runs/)"
	@echo
	@echo "Another Python: make book PYTHON=python3.12. Every package checked by its hash: make book PINS=requirements.lock"

# A set-up counts when it is finished: its stamp is written last, and names the pins, the Python and the place.
# One that was interrupted (its mark is still there) or whose Python is gone starts again from an empty environment.
define KEY_PY
import hashlib, os, sys
pins = b"".join(open(name, "rb").read() for name in ("$(PINS)", "pyproject.toml"))
print(hashlib.sha256(pins).hexdigest(), sys.version.split()[0], os.getcwd())
endef
export KEY_PY

define CHECK_PY
import sys
if sys.version_info < (3, 10):
    sys.exit("This book needs Python 3.10 or newer, and %s is Python %s.\n"
             "Install a newer one, or name it: make PYTHON=/path/to/python3.12" % (sys.executable, sys.version.split()[0]))
try:
    import ensurepip, venv
except ImportError:
    sys.exit("%s cannot make virtual environments: its venv module is incomplete.\n"
             "On Debian and Ubuntu: sudo apt-get install python%d.%d-venv (or python3-venv)"
             % ((sys.executable,) + sys.version_info[:2]))
endef
export CHECK_PY

setup:
	@stamp="$(VENV)/.set-up"; mark="$(VENV)/.set-up-unfinished"; \
	key="$$($(PY) -c "$$KEY_PY" 2>/dev/null || true)"; \
	if [ -n "$$key" ] && [ ! -e "$$mark" ] && [ -f "$$stamp" ] && [ "$$key" = "$$(cat "$$stamp")" ]; then exit 0; fi; \
	set -e; \
	if [ -z "$$key" ] || [ -e "$$mark" ] || ! $(PY) -m pip --version >/dev/null 2>&1; then \
	  command -v "$(PYTHON)" >/dev/null 2>&1 || { \
	    echo "Python was not found as $(PYTHON). Install Python 3.10 or newer, or name it: make PYTHON=/path/to/python3"; exit 1; }; \
	  "$(PYTHON)" -c "$$CHECK_PY"; \
	  echo "Making the virtual environment $(VENV) ..."; \
	  rm -f "$$stamp"; "$(PYTHON)" -m venv --clear --without-pip "$(VENV)"; touch "$$mark"; \
	  $(PY) -m ensurepip --upgrade >/dev/null; \
	  key="$$($(PY) -c "$$KEY_PY")"; \
	else \
	  $(PY) -c "$$CHECK_PY"; \
	fi; \
	if [ ! -f "$$stamp" ] || [ "$$(cut -d' ' -f1,2 "$$stamp")" != "$$(echo "$$key" | cut -d' ' -f1,2)" ]; then \
	  echo "Installing $(PINS) (minutes, the first time) ..."; \
	  $(PY) -m pip install --disable-pip-version-check -r "$(PINS)"; \
	fi; \
	$(PY) -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .; \
	echo "$$key" > "$$stamp.new"; mv "$$stamp.new" "$$stamp"; rm -f "$$mark"; \
	echo "The environment is ready."

book: setup
	@TQDM_DISABLE=1 $(JUPYTER_BOOK) build . --all -W -n --keep-going
	@$(PY) -c "import pathlib; page = pathlib.Path('_build/html/index.html').resolve(); print('\nThe book is ready. Open', page, 'or', page.as_uri(), sep='\n  ')"

# The book's settings, but for its outputs, which are the kept ones.
_build/kept.yml: _config.yml
	@mkdir -p _build
	@sed -e 's/execute_notebooks: force/execute_notebooks: "off"/' -e 's/: _ext/: ..\/_ext/g' _config.yml > $@

# The same for e-readers, which need none of the scripts and fonts.
_build/epub.yml: _build/kept.yml
	@sed -e 's/html_extra_path: .*/html_extra_path: []/' _build/kept.yml > $@

# On paper there is nothing to move, and the kept outputs have a picture in place of each widget.
print: setup _build/epub.yml
	@$(JUPYTER_BOOK) build . --all -W -n --keep-going --builder singlehtml --config _build/kept.yml
	@$(PY) tests/print_book.py _build/singlehtml/intro.html _build/book.pdf
	@rm -rf _build/epub
	@$(JUPYTER_BOOK) build . --all -W -n --keep-going --builder custom --custom-builder epub --config _build/epub.yml
	@$(PY) tests/print_epub.py _build/epub _build/book.epub _build/book.pdf

student: setup
	@$(PY) -m lotterybook.student

# The way out of Jupyter Book: the newest Sphinx alone builds the book, from its kept outputs.
EXIT ?= .venv-exit
PLAIN := sphinx sphinx-book-theme myst-nb sphinx-togglebutton sphinx-copybutton sphinx-design sphinx-comments sphinxcontrib-bibtex sphinx-external-toc sphinx-multitoc-numbering linkify-it-py
exit: setup _build/kept.yml
	@"$(PYTHON)" -m venv "$(EXIT)"
	@"$(EXIT)/bin/python" -m pip install --disable-pip-version-check --quiet --upgrade $(PLAIN) --editable ".[book]"
	@$(JUPYTER_BOOK) config sphinx . --config _build/kept.yml
	@mkdir -p _build/exit && mv _build/conf.py _build/exit/conf.py
	@$(PY) tests/plain_sphinx.py _build/exit/conf.py
	@"$(EXIT)/bin/python" -m sphinx -W -n --keep-going -q -c _build/exit . _build/exit/html
	@"$(EXIT)/bin/python" -m pip list --disable-pip-version-check | grep -i -E "^(sphinx|myst|docutils|pydata)"

check: setup
	@$(PY) -m pytest -q -n auto tests/check_built_book.py tests/check_reading.py tests/check_finding.py tests/check_print.py

colab: setup
	@$(PY) -m pytest -q --durations=0 -o tmp_path_retention_policy=failed tests/check_colab.py

test: lint
	@$(PY) -m pytest -n auto --dist loadfile

# What follows the branches of readers is no package of the book, since not every Python has it.
soak: setup
	@$(PY) -m pip install --disable-pip-version-check --quiet 'atheris==3.0.0; sys_platform == "linux" and python_version >= "3.11" and python_version < "3.14"'
	@$(PY) -m pytest -m soak --keep=chapters/reliability.md

smoke: setup
	@$(PY) -m pytest -q tests/test_chapters.py -k runs_in_smoke

lint: setup
	@$(PY) -m ruff check .
	@$(PY) -m check_jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml

links: setup _build/kept.yml
	@$(JUPYTER_BOOK) build . --all --builder linkcheck --config _build/kept.yml --path-output _build/links

newest: setup
	@$(PY) -m pip install --disable-pip-version-check --upgrade --upgrade-strategy eager --editable ".[book]"

# The library alone, with torch 2.4 and numpy 1.26. What needs the book, a browser or this machine's speed is left out.
OLDEST ?= .venv-oldest
LIBRARY_TESTS := adaptive case_matrix data identity imp landscape limits messages networks perturbation pruning states threads training trial
oldest:
	@"$(PYTHON)" -m venv "$(OLDEST)"
	@"$(OLDEST)/bin/python" -m pip install --disable-pip-version-check --quiet torch==2.4.0 torchvision==0.19.0 numpy==1.26.4 safetensors==0.4.0 tqdm==4.60.0 mnist1d pyyaml pytest
	@"$(OLDEST)/bin/python" -m pytest -q -k "not any_device" $(wildcard $(patsubst %,tests/test_%.py,$(LIBRARY_TESTS)))

# What looks after the pins is no part of what it looks after.
TOOLS ?= .venv-tools
$(TOOLS)/.set-up: Makefile
	@"$(PYTHON)" -m venv --clear "$(TOOLS)"
	@"$(TOOLS)/bin/python" -m pip install --disable-pip-version-check --quiet uv==0.13.9 cyclonedx-bom==7.5.0 pip-audit==2.10.1
	@touch "$@"

# For all systems and Pythons that requirements.txt allows; what stands there already stays as long as it fits.
lock: $(TOOLS)/.set-up
	@"$(TOOLS)/bin/uv" pip compile --quiet --no-config --universal --python-version 3.10 --generate-hashes --no-annotate \
	  --custom-compile-command "make lock" --output-file requirements.lock requirements.txt

sbom: setup $(TOOLS)/.set-up
	@mkdir -p _build
	@"$(TOOLS)/bin/cyclonedx-py" environment --pyproject pyproject.toml --output-file _build/sbom.cdx.json $(PY)

# A package that nothing is known of is an error, too.
audit: $(TOOLS)/.set-up
	@"$(TOOLS)/bin/pip-audit" --strict --disable-pip --require-hashes --requirement requirements.lock

chapters: setup
	@$(PY) -m lotterybook.build $(ONLY)

publish-url: setup
	@$(PY) -m lotterybook.build --url "$(URL)" --branch "$(BRANCH)"
	@$(PY) -m lotterybook.build

records: setup
	@$(PY) -m lotterybook --preset "$(PRESET)" $(ONLY)

findings: setup
	@$(PY) -m lotterybook.editor "$(PRESET)"

clean:
	@rm -rf _build build dist .pytest_cache .ruff_cache .hypothesis *.egg-info
	@for top in . lotterylib lotterybook tests chapters benchmarks; do \
	  if [ -d "$$top" ]; then rm -rf "$$top/.ipynb_checkpoints"; fi; done
	@if [ -d lotterylib ]; then find lotterylib lotterybook tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true; fi

distclean: clean
	@rm -rf "$(VENV)"
