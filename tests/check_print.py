"""The book on paper and for e-readers, after `make print`: whether the files are whole. `make check` runs this file."""

import functools
import os
import posixpath
import re
import urllib.parse
import zipfile
from xml.etree import ElementTree

import pytest
from built_book import HTML
from test_book import notebooks, pages

PDF, EPUB = (HTML.parent / name for name in ("book.pdf", "book.epub"))
XHTML, SVG = "{http://www.w3.org/1999/xhtml}", "{http://www.w3.org/2000/svg}"
pytestmark = pytest.mark.skipif(
    not (EPUB.exists() or os.environ.get("CI")), reason="the book is not printed; `make print` does it"
)


@functools.cache
def book():
    """What is in the EPUB: the content of its files by name, and its pages as trees."""
    with zipfile.ZipFile(EPUB) as file:
        assert file.testzip() is None
        first = file.infolist()[0]
        assert (first.filename, first.compress_type) == ("mimetype", zipfile.ZIP_STORED)
        names = file.namelist()
        assert len(names) == len(set(names))
        files = {name: file.read(name) for name in names}
    trees = {name: ElementTree.fromstring(text) for name, text in files.items() if name.endswith(".xhtml")}
    return files, trees


def targets(tree, *attributes):
    """Where the links, or the pictures, of a page lead."""
    return [value for part in tree.iter() for name in attributes if (value := part.get(name))]


def test_the_list_of_contents_is_that_of_the_files():
    files, _ = book()
    package = ElementTree.fromstring(files["content.opf"])
    items = {part.get("id"): part.get("href") for part in package.iter() if part.tag.endswith("}item")}
    refs = [part.get("idref") for part in package.iter() if part.tag.endswith("}itemref")]
    assert sorted(items.values()) == sorted(set(files) - {"mimetype", "META-INF/container.xml", "content.opf"})
    assert len(refs) == len(set(refs)) and set(refs) <= set(items)
    assert b"content.opf" in files["META-INF/container.xml"] and files["mimetype"] == b"application/epub+zip"
    assert b"<dc:title>Unmasking Winning Tickets</dc:title>" in files["content.opf"]


def test_every_page_is_there_but_those_for_the_browser():
    expected = set(pages()) - {"chapters/status", "genindex"}
    assert {f"{page}.xhtml" for page in expected} | {"nav.xhtml"} == set(book()[1])


def test_every_picture_is_there_and_described():
    files, trees = book()
    for page, tree in trees.items():
        for picture in tree.iter(f"{XHTML}img"):
            inside = posixpath.normpath(posixpath.join(posixpath.dirname(page), picture.get("src")))
            assert inside in files and picture.get("alt"), (page, picture.get("src"))
        if page.removesuffix(".xhtml") in notebooks():
            assert list(tree.iter(f"{XHTML}img")), page


def test_nothing_comes_from_elsewhere_and_nothing_runs():
    files, trees = book()
    for page, tree in trees.items():
        assert not list(tree.iter(f"{XHTML}script")), page
        sources = targets(tree, "src") + [link.get("href") for link in tree.iter(f"{XHTML}link")]
        assert [source for source in sources if ":" in source] == [], page
    for name, text in files.items():
        assert not name.endswith(".css") or not re.search(rb"url\(\s*['\"]?(https?:)?//|@import", text), name


def test_links_lead_somewhere():
    files, trees = book()
    names = {page: set(targets(tree, "id")) for page, tree in trees.items()}
    for page, tree in trees.items():
        for link in [link.get("href") for link in tree.iter(f"{XHTML}a") if link.get("href")]:
            url = urllib.parse.urlsplit(link)
            if url.scheme or url.netloc:
                continue
            inside = posixpath.normpath(posixpath.join(posixpath.dirname(page), url.path)) if url.path else page
            assert inside in files, (page, link)
            assert not url.fragment or urllib.parse.unquote(url.fragment) in names[inside], (page, link)


def test_formulas_are_pictures_and_folds_are_open():
    _, trees = book()
    formulas = 0
    for page, tree in trees.items():
        for formula in tree.iter():
            if "math" in formula.get("class", "").split():
                formulas += 1
                pictures = formula.findall(f"{SVG}svg")
                assert len(pictures) == 1 and pictures[0].get("aria-label"), (page, formula.text)
                assert r"\(" not in "".join(formula.itertext()), page
        assert all(fold.get("open") for fold in tree.iter(f"{XHTML}details")), page
    assert formulas > 100


def test_the_pdf_is_whole_and_has_an_outline():
    content = PDF.read_bytes()
    assert content.startswith(b"%PDF-") and content.rstrip().endswith(b"%%EOF")
    assert b"/Outlines" in content and len(re.findall(rb"/Type\s*/Page\b", content)) > 100


def test_the_landing_page_links_both():
    landing = HTML / "intro.html"
    if landing.stat().st_mtime < EPUB.stat().st_mtime:
        pytest.skip("the pages were built after the book was printed; `make print` links it again")
    for path in (PDF, EPUB):
        assert f'href="{path.name}"' in landing.read_text(encoding="utf-8")
        assert (HTML / path.name).read_bytes() == path.read_bytes()
