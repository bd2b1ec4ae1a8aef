"""What the extension finds in texts and formulas; ``check_built_book.py`` looks at what it makes of the pages."""

import sys
from pathlib import Path

import pytest
from docutils import nodes

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "_ext"))
import terms  # noqa: E402

GLOSSARY = """# Glossary

```{glossary}
iterative magnitude pruning
IMP
  Train `net`, prune
  to $k$, *rewind*.

level
  How often.
```
"""
NAMES = "mask", "shuffled mask", "sparsity", "one-shot pruning", "Gordon's theorem", "level", "level L solution"
ENTRIES = {name: ([name], "") for name in NAMES}
ENTRIES |= {"iterative magnitude pruning": (["iterative magnitude pruning", "IMP"], "")}


def test_definitions_are_plain_text():
    pruning = ["iterative magnitude pruning", "IMP"]
    assert terms.definitions(GLOSSARY) == {
        pruning[0]: (pruning, "Train net, prune to k, rewind."),
        "level": (["level"], "How often."),
    }


def test_the_glossary_is_in_alphabetical_order_and_names_nothing_twice():
    entries = terms.definitions((ROOT / "chapters" / "glossary.md").read_text(encoding="utf-8"))
    assert len(entries) > 50 and list(entries) == sorted(entries, key=str.lower)
    names = [name.lower() for several, _ in entries.values() for name in several]
    assert len(names) == len(set(names))
    assert all(definition.endswith(".") for _, definition in entries.values())


@pytest.mark.parametrize(
    "text, found",
    [
        ("a mask, two masks", [("mask", "mask"), ("masks", "mask")]),
        ("Masks of higher sparsities", [("Masks", "mask"), ("sparsities", "sparsity")]),
        ("a shuffled mask", [("shuffled mask", "shuffled mask")]),
        ("a level L solution, level", [("level L solution", "level L solution"), ("level", "level")]),
        ("unmask, masked, mask_1, mask-like, pre-mask", []),
        ("one-shot\npruning", [("one-shot\npruning", "one-shot pruning")]),
        ("Gordon’s theorem", [("Gordon’s theorem", "Gordon's theorem")]),
        ("an imp and IMP’s mask", [("IMP", "iterative magnitude pruning"), ("mask", "mask")]),
    ],
)
def test_mentions(text, found):
    assert [(match[0], name) for match, name in terms.mentions(text, ENTRIES)] == found


@pytest.mark.parametrize("around", [nodes.paragraph, nodes.strong, nodes.emphasis])
def test_prose(around):
    text = nodes.Text("mask")
    nodes.list_item("", nodes.paragraph("", "", around("", "", text)))
    assert terms.is_prose(text)


@pytest.mark.parametrize("around", [nodes.literal, nodes.math, nodes.title, nodes.raw, nodes.caption, nodes.reference])
def test_not_prose(around):
    text = nodes.Text("mask")
    nodes.section("", around("", "", text))
    assert not terms.is_prose(text)


@pytest.mark.parametrize("outside", [nodes.table, nodes.container, nodes.footnote, nodes.reference])
def test_prose_elsewhere_is_not_the_pages(outside):
    text = nodes.Text("mask")
    around = outside()
    around += nodes.paragraph("", "", text)
    assert not terms.is_prose(text)


def test_section_of_a_formula():
    notation = "# Notation\n$E(w)$\n## Error\n$E(w)$, $\\varepsilon$\n## Curvature\n$r_i$, $\\lambda$, $\\varepsilon$"
    assert terms.section("E(w) < 1", notation) == "Error"
    assert terms.section(r"r^2 \lambda \varepsilon", notation) == "Curvature"
    assert terms.section(r"\varepsilon", notation) == ""  # in both
    assert terms.section("x", notation) == ""  # in neither
