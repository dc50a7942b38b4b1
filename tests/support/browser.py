"""Pages in a headless Chromium: what a reader sees, what the console says, and what the page asks the network for.

The browser is driven by its DevTools protocol over a pair of pipes (`--remote-debugging-pipe`): messages are JSON, each
ended by a zero byte.  It needs no driver, no port and no package.  The fixture `browser` of `tests/conftest.py` starts
it:

    page = browser.open(path, width=390, scheme="dark")
    assert page.evaluate("document.title") == "A run"
    assert page.problems() == []
    page.screenshot(tmp_path / "page.png")

Nothing outside this machine can be reached from a page.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self

from attrs import define, field

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",  # which needs rights that containers do not give
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--remote-debugging-pipe",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)
LIMIT = 120.0
"""Seconds until a browser that does not answer is taken to hang."""


def find_chromium() -> str | None:
    """The path of a Chromium, that of `MORL_CHROMIUM` first; None where there is none."""
    named = os.environ.get("MORL_CHROMIUM")
    return named or next((found for name in NAMES if (found := shutil.which(name))), None)


class BrowserError(Exception):
    """The browser refused a command, a script of ours raised, or it did not answer."""


@define(eq=False)
class Browser:
    """A running Chromium.  Use `started`."""

    pid: int
    to: int
    of: int
    unread: bytes = field(default=b"", repr=False)
    asked: int = 0
    events: dict[str, list[dict[str, Any]]] = field(factory=dict, repr=False)

    @classmethod
    @contextlib.contextmanager
    def started(cls, chromium: str) -> Iterator[Self]:
        """Starts it with a profile of its own, and ends it with all its processes."""
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, open(os.devnull, "wb") as nothing:
            theirs, to = os.pipe()
            of, answers = os.pipe()
            # Copies above what they become, so that none replaces another before that is copied.
            high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (nothing.fileno(), theirs, answers)]
            actions = [(os.POSIX_SPAWN_DUP2, high[end], place) for end, place in ((0, 1), (0, 2), (1, 3), (2, 4))]
            command = [chromium, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
            pid = os.posix_spawn(chromium, command, os.environ, file_actions=actions, setsid=True)
            for end in (theirs, answers, *high):
                os.close(end)
            browser = cls(pid, to, of)
            try:
                yield browser
            finally:
                with contextlib.suppress(BrowserError, OSError):
                    browser.command("Browser.close")
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                os.close(to)
                os.close(of)

    def open(
        self,
        place: str | Path,
        *,
        width: int = 1280,
        height: int = 800,
        scheme: Literal["light", "dark"] = "light",
        scripts: bool = True,
    ) -> Page:
        """Opens a page in a tab of its own and waits until it has loaded.

        Args:
            place: a file, or an address.
            width: of the window, in CSS pixels; below 600 it is that of a phone.
            height: of the window.
            scheme: what the reader prefers, as `prefers-color-scheme` says.
            scripts: whether scripts of the page run.

        Raises:
            BrowserError: there is no such page.
        """
        target = self.command("Target.createTarget", url="about:blank")["targetId"]
        session = self.command("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session, target)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.command(f"{domain}.enable")
        page.command("Emulation.setScriptExecutionDisabled", value=not scripts)
        page.view(width, height, scheme)
        page.go(place)
        return page

    def command(self, method: str, session: str | None = None, **arguments: Any) -> dict[str, Any]:
        """Sends a command and waits for its answer; what happens meanwhile is kept in `events`."""
        self.asked += 1
        number = self.asked
        message: dict[str, Any] = {"id": number, "method": method, "params": arguments}
        if session is not None:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.to, data) :]
        while (answer := self._read()).get("id") != number:
            self.keep(answer)
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']['message']}")
        found: dict[str, Any] = answer["result"]
        return found

    def wait(self, session: str, method: str) -> dict[str, Any]:
        """Waits for an event of a page, unless it has happened and was not taken yet."""
        kept = self.events.setdefault(session, [])
        while not (found := [event for event in kept if event["method"] == method]):
            self.keep(self._read())
        kept.remove(found[0])
        return found[0]

    def keep(self, message: dict[str, Any]) -> None:
        """Puts an event where its page finds it."""
        if "method" in message:
            self.events.setdefault(message.get("sessionId", ""), []).append(message)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self.unread:
            ready, _, _ = select.select([self.of], [], [], LIMIT)
            data = os.read(self.of, 1 << 20) if ready else b""
            if not data:
                raise BrowserError("the browser ended" if ready else f"the browser said nothing for {LIMIT:.0f} s")
            self.unread += data
        message, _, self.unread = self.unread.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found


@define(eq=False)
class Page:
    """A tab."""

    browser: Browser
    session: str
    target: str

    def command(self, method: str, **arguments: Any) -> dict[str, Any]:
        """A command of the DevTools protocol to this tab."""
        return self.browser.command(method, self.session, **arguments)

    def view(self, width: int, height: int = 800, scheme: Literal["light", "dark"] = "light") -> None:
        """Sets the size of the window and the scheme of colours; the page is laid out anew, not loaded again."""
        phone = width < 600
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone
        )
        self.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def go(self, place: str | Path) -> None:
        """Loads another page."""
        address = place.absolute().as_uri() if isinstance(place, Path) else place
        self.browser.events[self.session] = []
        if problem := self.command("Page.navigate", url=address).get("errorText"):
            raise BrowserError(f"{address}: {problem}")
        self.browser.wait(self.session, "Page.loadEventFired")

    def evaluate(self, script: str) -> Any:
        """The value of an expression of JavaScript, which must be plain data; a promise is waited for."""
        found = self.command("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise BrowserError(f"{script}: {_text_of(found['exceptionDetails'])}")
        return found["result"].get("value")

    def wait_for(self, script: str) -> Any:
        """Asks until the expression is true, and returns its value."""
        end = time.monotonic() + LIMIT
        while not (found := self.evaluate(script)):
            if time.monotonic() > end:
                raise BrowserError(f"never true: {script}")
            time.sleep(0.02)
        return found

    def texts(self, selector: str) -> list[str]:
        """The visible text of every element that a CSS selector finds."""
        found: list[str] = self.evaluate(
            f"[...document.querySelectorAll({json.dumps(selector)})].map(e => e.innerText)"
        )
        return found

    def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        return int(self.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))

    def height(self) -> int:
        """The height of the whole page in CSS pixels."""
        return int(self.evaluate("document.documentElement.scrollHeight"))

    def problems(self) -> list[str]:
        """What went wrong since the page was loaded: exceptions, errors on the console, failed requests."""
        self.evaluate("0")  # what has happened by now has arrived before the answer
        found = []
        for event in self.browser.events.get(self.session, []):
            match event:
                case {"method": "Runtime.exceptionThrown", "params": {"exceptionDetails": details}}:
                    found.append(_text_of(details))
                case {"method": "Runtime.consoleAPICalled", "params": {"type": "error" | "assert", "args": arguments}}:
                    found.append(" ".join(str(part.get("value", part.get("description"))) for part in arguments))
                case {"method": "Log.entryAdded", "params": {"entry": {"level": "error"} as entry}}:
                    found.append(f"{entry['text']} {entry.get('url', '')}".strip())
        return found

    def requests(self) -> list[str]:
        """Every address that the page has asked for, its own among them; data within the page is no request."""
        self.evaluate("0")
        sent = [
            event["params"]["request"]["url"]
            for event in self.browser.events.get(self.session, [])
            if event["method"] == "Network.requestWillBeSent"
        ]
        return [address for address in sent if not address.startswith("data:")]

    def screenshot(self, path: Path, *, whole: bool = True) -> Path:
        """Writes a PNG of the whole page, or of what the window shows."""
        picture = self.command("Page.captureScreenshot", format="png", captureBeyondViewport=whole, **self._clip(whole))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(picture["data"]))
        return path

    def close(self) -> None:
        """Closes the tab."""
        self.browser.command("Target.closeTarget", targetId=self.target)

    def _clip(self, whole: bool) -> dict[str, Any]:
        if not whole:
            return {}
        size = self.command("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}


def _text_of(details: dict[str, Any]) -> str:
    return str(details.get("exception", {}).get("description") or details["text"])
