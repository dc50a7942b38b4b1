"""The browser of the tests sees what a reader sees: widths, schemes of colours, errors, and what a page asks for."""

from __future__ import annotations

import struct

import pytest
from browser import BrowserError

PAGE = """<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<style>body {{margin: 0; background: white}} @media (prefers-color-scheme: dark) {{body {{background: black}}}}</style>
<div id="wide" style="width: {width}px; height: {height}px">A page</div>{more}"""


@pytest.fixture
def write(tmp_path):
    def write(*, width=300, height=900, more=""):
        path = tmp_path / "page.html"
        path.write_text(PAGE.format(width=width, height=height, more=more))
        return path

    return write


def size(picture):
    data = picture.read_bytes()
    assert data.startswith(b"\x89PNG")
    return struct.unpack(">II", data[16:24])


def test_a_page_is_seen_at_a_width_and_in_a_scheme(browser, write, tmp_path):
    page = browser.open(write(), width=390, scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(background) == "rgb(0, 0, 0)"
    assert page.overflow() == 0
    assert page.texts("#wide") == ["A page"]
    assert size(page.screenshot(tmp_path / "whole.png")) == (390, page.height())
    assert page.height() == 900
    page.view(800, 600, "light")
    assert page.evaluate(background) == "rgb(255, 255, 255)"
    assert size(page.screenshot(tmp_path / "part.png", whole=False)) == (800, 600)
    assert page.problems() == []
    page.close()


def test_what_is_wider_than_the_window_is_measured(browser, write):
    assert browser.open(write(width=800), width=700).overflow() == 100
    # A phone zooms out to what is too wide, and rounds.
    assert browser.open(write(width=500), width=390).overflow() in (110, 111)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("<script>throw new Error('thrown')</script>", "Error: thrown"),
        ("<script>console.error('logged', 3)</script>", "logged 3"),
        ("<script>Promise.reject(new Error('rejected'))</script>", "Error: rejected"),
        ("<img src='missing.png'>", "missing.png"),
        ("<img src='http://example.com/far.png'>", "http://example.com/far.png"),
    ],
)
def test_what_goes_wrong_is_a_problem(browser, write, more, said):
    (problem,) = browser.open(write(more=more)).problems()
    assert said in problem


def test_requests_of_a_page_are_known(browser, write):
    path = write(more="<img src='data:image/gif;base64,R0lGODlhAQABAAAAACw='><img src='http://example.com/far.png'>")
    assert browser.open(path).requests() == [path.as_uri(), "http://example.com/far.png"]


def test_scripts_can_be_off(browser, write):
    path = write(more="<script>document.title = 'ran'</script>")
    assert browser.open(path).evaluate("document.title") == "ran"
    assert browser.open(path, scripts=False).texts("title") == []


def test_what_cannot_be_done_is_an_error(browser, tmp_path):
    with pytest.raises(BrowserError, match="ERR_FILE_NOT_FOUND"):
        browser.open(tmp_path / "absent.html")
    page = browser.open("about:blank")
    with pytest.raises(BrowserError, match="ReferenceError: nothing is not defined"):
        page.evaluate("nothing")
