"""What turns `docs/` into a site: hooks of MkDocs, named in `mkdocs.yml`.

The documents are written to be read in the repository, where links lead to any file of it.  A site has only pages, so:

- the README is its home, and documents outside `docs/` (plugins, recipes, the changelog) are pages, too;
- a file of another kind that some document links to becomes a page that shows it, a picture is copied;
- links are rewritten to match, and one that leads nowhere is a warning, which `--strict` makes an error;
- a page of the Python interface is made for each public module, from its docstrings;
- a page that the navigation in `mkdocs.yml` does not list is found under "More".
"""

from __future__ import annotations

import json
import logging
import os
import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
PLACED = {
    "README.md": "index.md",
    "docs/index.md": "contents.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "benchmarks/README.md": "project/benchmarks.md",
    "recipes/README.md": "recipes.md",
}
"""Where documents outside `docs/` stand on the site, and those of `docs/` that stand elsewhere."""
API = (
    "morl",
    "morl.types",
    "morl.completions",
    "morl.rollouts",
    "morl.sampling",
    "morl.hookspecs",
    "morl.advantage",
    "morl.advantage.functional",
    "morl.loss",
    "morl.reward",
    "morl.testing",
    "morl.integrations",
    "morl.integrations.matrix",
    "morl.integrations.trl",
    "morl.integrations.verl",
    "morl.integrations.slime",
    "morl.integrations.ms_swift",
    "morl.integrations.nemo_rl",
    "morl.plugins",
    "morl.errors",
)
"""The public modules."""
BOOSTS = {
    "tutorial/": 2.0,
    "how-to/choose-an-estimator.md": 3.0,
    "how-to/reward-functions.md": 2.0,
    "how-to/": 1.5,
    "reference/glossary.md": 1.5,
    "reference/hooks.md": 0.6,
    "reference/laws.md": 0.4,
    "plugins/": 0.7,
    "project/": 0.4,
}
"""Of pages by how their names begin, the first that fits: whoever searches wants to do something, and seldom the
contract of plugins or what has changed."""
PICTURES = (".svg", ".png")
LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml", ".json": "json"}

_log = logging.getLogger("mkdocs.hooks.site")
_FENCE = re.compile(r"^(?P<mark>```+).*?^(?P=mark)$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(
    r"(?P<before>!?\[(?:[^\[\]]|\[[^\]]*\]|!\[[^\]]*\]\([^)]*\))*\]\()(?P<target>[^)\s]+)(?P<after>[^)]*\))"
)
_TITLED = re.compile(r"^<!-- file: (?P<path>\S+) -->\n\n?(?P<fence>```+\w+)$", re.MULTILINE)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Lists what the navigation lacks, and tells the theme of versions where `mike` builds one."""
    if os.environ.get("MIKE_DOCS_VERSION"):
        config.extra["version"] = {"provider": "mike"}
    assert config.nav is not None
    for section in config.nav:
        if "Reference" in section:
            section["Reference"].append({"Python API": [{name: f"reference/api/{name}.md"} for name in API]})
        if "Plugins" in section:
            listed = {*_listed(section["Plugins"])}
            pages = [uri for path, uri in _places().items() if path.startswith("plugins/")]
            section["Plugins"] += [uri for uri in sorted(pages) if uri not in listed]
    missing = sorted({*_places().values()} - {*_listed(config.nav)})
    if missing:
        config.nav.append({"More": missing})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the documents outside `docs/`, what they and the others link to, and the Python interface."""
    files.remove(files.src_uris["index.md"])
    for path, uri in _places().items():
        if uri not in files.src_uris:
            files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
    for path in sorted({*_linked_sources()}):
        uri = _site_uri(path)
        if uri.endswith(".md"):
            files.append(File.generated(config, uri, content=_shown(path)))
        else:
            files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
    for name in API:
        files.append(File.generated(config, f"reference/api/{name}.md", content=_interface(name)))
    return files


def on_post_build(config: MkDocsConfig) -> None:
    """Writes which document is which page, for whoever compares the two."""
    pages = [{"path": path, "page": _page_of(uri)} for path, uri in _places().items()]
    Path(config.site_dir, "places.json").write_text(json.dumps(pages, indent=1), encoding="utf-8")


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links as the site has them, and files of the reader's with their names above them."""
    for begin, boost in BOOSTS.items():
        if page.file.src_uri.startswith(begin):
            page.meta.setdefault("search", {"boost": boost})
    origin = {uri: path for path, uri in _places().items()}.get(page.file.src_uri)
    if origin is None:  # made here
        return markdown

    def rewritten(found: re.Match[str]) -> str:
        target = _rewritten(found["target"], origin, page.file.src_uri)
        return f"{found['before']}{target}{found['after']}"

    markdown = _outside_fences(markdown, lambda text: _LINK.sub(rewritten, text))
    return _TITLED.sub(r'\g<fence> title="\g<path>"', markdown)


def _places() -> dict[str, str]:
    """Every document of the repository, and where it stands on the site."""
    found = {}
    for pattern in ("docs/**/*.md", "plugins/*/*.md"):
        for file in sorted(ROOT.glob(pattern)):
            path = file.relative_to(ROOT).as_posix()
            found[path] = PLACED.get(path) or _inside(path)
    return found | PLACED


def _page_of(uri: str) -> str:
    return "index.html" if uri == "index.md" else f"{uri.removesuffix('.md')}/index.html"


def _inside(path: str) -> str:
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    plugin, name = path.split("/")[1:]
    return f"plugins/{plugin}.md" if name == "README.md" else f"plugins/{plugin}-{name.lower()}"


def _site_uri(path: str) -> str:
    """Where a file of the repository stands on the site: a document, a picture, or a page that shows a file."""
    if (document := _places().get(path)) is not None:
        return document
    return f"source/{path}" if path.endswith(PICTURES) else f"source/{path}.md"


def _shown(path: str) -> str:
    text = (ROOT / path).read_text(encoding="utf-8")
    language = LANGUAGES.get(Path(path).suffix, "text")
    return f'---\nsearch: {{exclude: true}}\n---\n# {path}\n\n````{language} linenums="1"\n{text}\n````\n'


def _interface(name: str) -> str:
    # Documents first: who knows the name of a class finds it all the same.
    return f"---\nsearch: {{boost: 0.3}}\n---\n# {name}\n\n::: {name}\n"


def _linked_sources() -> Iterator[str]:
    """The files, documents left out, that documents link to."""
    for path in _places():
        for target in _targets((ROOT / path).read_text(encoding="utf-8")):
            found = _resolved(target, path)
            if found is not None and found not in _places():
                yield found


def _targets(markdown: str) -> list[str]:
    found: list[str] = []

    def keep(text: str) -> str:
        for link in _LINK.finditer(text):
            found.append(link["target"])
            # A picture may stand within the text of a link.
            found.extend(inner["target"] for inner in _LINK.finditer(link["before"][1:]))
        return text

    _outside_fences(markdown, keep)
    return found


def _resolved(target: str, origin: str) -> str | None:
    """The file of the repository that a link of the document `origin` leads to; None of one that leads elsewhere."""
    place = target.partition("#")[0]
    if not place or re.match(r"[a-z]+:", place):
        return None
    path = posixpath.normpath(posixpath.join(posixpath.dirname(origin), place))
    if (ROOT / path).is_dir():
        path = posixpath.join(path, "README.md")
    return path if (ROOT / path).is_file() else None


def _rewritten(target: str, origin: str, uri: str) -> str:
    place, mark, anchor = target.partition("#")
    if not place or re.match(r"[a-z]+:", place):
        return target
    path = _resolved(target, origin)
    if path is None:
        _log.warning("%s: the link %s leads nowhere", origin, target)
        return target
    relative = posixpath.relpath(_site_uri(path), posixpath.dirname(uri) or ".")
    return f"{relative}{mark}{anchor}"


def _outside_fences(markdown: str, change: Callable[[str], str]) -> str:
    parts, end = [], 0
    for fence in _FENCE.finditer(markdown):
        parts += [change(markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, change(markdown[end:])])


def _listed(nav: Any) -> Iterator[str]:
    """Every page that a navigation names."""
    match nav:
        case str():
            yield nav
        case dict():
            for part in nav.values():
                yield from _listed(part)
        case list():
            for part in nav:
                yield from _listed(part)
