"""The site holds every document as it reads in the repository, the public interface, and works in a browser."""

from __future__ import annotations

import importlib
import json
import re
import zlib
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
EXPORTING = (
    "morl",
    "morl.advantage",
    "morl.integrations",
    "morl.loss",
    "morl.plugins",
    "morl.reward",
    "morl.testing",
)
DEFINING = ("morl.types", "morl.completions", "morl.rollouts", "morl.sampling", "morl.hookspecs", "morl.errors")
"""Modules without `__all__`, of which everything public is meant for others."""
COUNTED = ("h1", "h2", "h3", "h4", "li", "tr", "td", "blockquote", "img")
PAGES = (
    "",
    "contents/",
    "tutorial/getting-started/",
    "how-to/troubleshooting/",
    "reference/config/",
    "reference/hooks/",
    "reference/api/morl.types/",
    "explanation/estimators/",
    "explanation/studies/",
    "plugins/morl-toolcall/",
    "source/morl/hookspecs.py/",
)


class Structure(HTMLParser):
    """Counts the elements of a document, of a page of the site within its article only."""

    def __init__(self, within: str | None) -> None:
        super().__init__()
        self.within = within
        self.inside = within is None
        self.found: Counter[str] = Counter()
        self.blocks = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == self.within:
            self.inside = True
        elif self.inside and tag in COUNTED:
            self.found[tag] += 1
        elif self.inside and tag == "pre":
            self.blocks += 1

    def handle_endtag(self, tag: str) -> None:
        if tag == self.within:
            self.inside = False


def structure(html: str, within: str | None = None) -> tuple[Counter[str], int]:
    parser = Structure(within)
    parser.feed(html)
    return parser.found, parser.blocks


def documents() -> list[str]:
    patterns = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/**/*.md", "plugins/*/*.md", "recipes/*.md")
    return sorted(path.relative_to(ROOT).as_posix() for pattern in patterns for path in ROOT.glob(pattern))


def test_every_document_has_the_same_structure_as_where_it_is_read_in_the_repository(site):
    """Repositories show CommonMark; another dialect would join a list to a paragraph, or lose its levels."""
    places = {entry["path"]: entry["page"] for entry in json.loads((site / "places.json").read_text())}
    assert {*documents()} <= {*places}
    plain = MarkdownIt("commonmark").enable("table")
    different = {}
    for path in documents():
        page = (site / places[path]).read_text(encoding="utf-8")
        shown = structure(page, within="article")
        source = re.sub(r"\A---\n.*?\n---\n", "", (ROOT / path).read_text(encoding="utf-8"), flags=re.DOTALL)
        read = structure(plain.render(source))
        if shown != read:
            different[path] = {"site": shown, "repository": read}
    assert different == {}


def test_every_public_name_is_in_the_reference(site):
    data = (site / "objects.inv").read_bytes()
    lines = zlib.decompress(data[data.index(b"zlib.\n") + 6 :]).decode().splitlines()
    known = {line.split()[0] for line in lines}
    for name in DEFINING:
        found = vars(importlib.import_module(name)).items()
        own = [public for public, value in found if getattr(value, "__module__", None) == name and public[0] != "_"]
        assert own
        assert not [public for public in own if f"{name}.{public}" not in known]
    for name in EXPORTING:
        module = importlib.import_module(name)
        for public in {*module.__all__} - {"__version__"}:
            value = getattr(module, public)
            home = f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}"
            assert known & {f"{name}.{public}", home}, f"{name}.{public} is on no page of the Python interface"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.strip("/") or "home")
def test_a_page_is_legible_on_a_phone_and_a_desk_and_asks_nobody_else(browser, address, path):
    page = browser.open(address + path, width=390)
    assert page.overflow() == 0
    page.close()
    page = browser.open(address + path, width=1280)
    assert page.overflow() == 0
    assert page.texts("h1")[0].strip("¶\n")
    assert page.problems() == []
    assert [request for request in page.requests() if not request.startswith(address)] == []
    page.close()


def test_the_colours_are_those_that_the_reader_prefers(browser, address):
    lightness = "Number(getComputedStyle(document.body).backgroundColor.match(/[0-9.]+/g)[0])"
    page = browser.open(address, scheme="light")
    assert page.evaluate(lightness) > 200
    page.view(1280, scheme="dark")
    page.go(address)
    assert page.evaluate(lightness) < 80
    page.close()


@pytest.mark.parametrize(
    ("words", "page"),
    [
        ("max_grad_norm", "reference/config/"),
        ("standard deviation", "explanation/estimators/"),
        ("batch size", "how-to/troubleshooting/"),
        ("multi-turn", "how-to/environments/"),
        ("RewardMatrix", "reference/api/morl.types/"),
        ("wandb", "how-to/troubleshooting/"),
    ],
)
def test_the_search_finds(browser, address, words, page):
    opened = browser.open(f"{address}?q={words.replace(' ', '%20')}")
    results = "[...document.querySelectorAll('.md-search-result__item a')].map(a => a.href)"
    opened.wait_for(f"({results}).length > 0")
    found = opened.evaluate(results)
    assert any(place.startswith(address + page) for place in found), found
    assert opened.problems() == []
    opened.close()


def test_copied_is_the_command_without_its_prompt(browser, address):
    """As the theme copies: the text that is shown while the attribute is set."""
    page = browser.open(address)
    block = "document.querySelector('.highlight code:has(.gp)')"
    assert page.evaluate(f"{block}.innerText").startswith("$ morl diagnose")
    page.evaluate(f"{block}.setAttribute('data-md-copying', '')")
    assert page.evaluate(f"{block}.innerText").startswith("morl diagnose")
    page.close()


def test_every_link_within_the_site_leads_to_a_page(site):
    """Those in made pages, too, which MkDocs does not check."""
    missing = []
    for file in site.rglob("*.html"):
        if file.name == "404.html":
            continue
        for target in re.findall(r'(?:href|src)="([^"#?]+)', file.read_text(encoding="utf-8")):
            if not re.match(r"[a-z]+:", target):
                place = (file.parent / target).resolve()
                if not (place.is_file() or (place / "index.html").is_file()):
                    missing.append(f"{file.relative_to(site)}: {target}")
    assert missing == []
