"""A real browser for pages: headless Chromium, a profile of its own, and a record of what a page said and asked for."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

_FLAGS = (
    "--headless",
    "--no-sandbox",  # root has no other way, as in a container
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


class Browser:
    """One tab, driven as a reader would; every page is checked for errors and requests when it is left."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, page: str, folder: Path, *, theme: str = "light", width: int = 1280, scripts: bool = True) -> None:
        """Open a page from a file, in a theme and a window of that width."""
        path = folder / "page.html"
        path.write_text(page, encoding="utf-8")
        self._do("Emulation.setScriptExecutionDisabled", value=not scripts)
        wanted = {"prefers-color-scheme": theme, "prefers-reduced-motion": "reduce"}  # no scrolling that takes time
        self._do("Emulation.setEmulatedMedia", features=[{"name": n, "value": v} for n, v in wanted.items()])
        self._do("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
        self.driver.get_log("performance")
        self.driver.get(path.as_uri())

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script in the page and return what it returns."""
        return self.driver.execute_script(script, *arguments)

    def find(self, selector: str) -> Any:
        """The first element that a selector finds."""
        return self.driver.find_element("css selector", selector)

    def all(self, selector: str) -> list[Any]:
        """All elements that a selector finds."""
        return self.driver.find_elements("css selector", selector)

    def text(self, selector: str) -> str:
        """The text of an element, shown or not."""
        return self.run("return document.querySelector(arguments[0]).textContent.trim()", selector)

    def press(self, *keys: str) -> None:
        """Press keys, wherever the focus is."""
        from selenium.webdriver.common.action_chains import ActionChains

        chain = ActionChains(self.driver)
        for key in keys:
            chain.send_keys(key)
        chain.perform()

    def hover(self, selector: str, share: float = 0.5, height: float = 0.5) -> None:
        """Move the pointer over an element, to a share of its width and height."""
        x, y = self.point(selector, share, height)
        self._mouse("mouseMoved", x, y)

    def drag(self, selector: str, begin: float, end: float, height: float = 0.5) -> None:
        """Drag over an element from a share of its width to another."""
        (x, y), (to, _) = self.point(selector, begin, height), self.point(selector, end, height)
        self._mouse("mouseMoved", x, y)
        self._mouse("mousePressed", x, y)
        for k in range(1, 6):
            self._mouse("mouseMoved", x + (to - x) * k / 5, y, held=True)
        self._mouse("mouseReleased", to, y)

    def point(self, selector: str, share: float, height: float) -> tuple[float, float]:
        """Scroll an element into view and return a place in it, in pixels of the window."""
        x, y = self.run(
            "const e = document.querySelector(arguments[0]); e.scrollIntoView({block: 'center', behavior: 'instant'});"
            "const b = e.getBoundingClientRect();"
            "return [b.left + b.width * arguments[1], b.top + b.height * arguments[2]]",
            selector, share, height,
        )  # fmt: skip
        return float(x), float(y)

    def pixels(self, selector: str) -> np.ndarray:
        """(height, width, 3) what an element looks like."""
        from PIL import Image

        self.point(selector, 0.5, 0.5)
        raw = self.find(selector).screenshot_as_png
        return np.asarray(Image.open(io.BytesIO(raw)).convert("RGB"))

    def picture(self, path: Path) -> None:
        """Write the whole page as a PNG, for a person to look at."""
        size = self._do("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 9000), "scale": 1}
        path.write_bytes(
            base64.b64decode(self._do("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)["data"])
        )

    def complaints(self) -> list[str]:
        """What the console said since it was last asked: errors, warnings, refused requests."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """What was asked for since the page was opened, but for the page itself and data inside it.

        The browser's own first tab may still be loading its parts then: they are no request of the page.
        """
        sent = []
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            of_browser = message.get("params", {}).get("documentURL", "").startswith("chrome:")
            if message["method"] == "Network.requestWillBeSent" and not of_browser:
                sent.append(message["params"]["request"]["url"])
        return [url for url in sent if not url.startswith("data:") and not url.endswith("/page.html")]

    def _mouse(self, kind: str, x: float, y: float, held: bool = False) -> None:
        button = "none" if kind == "mouseMoved" and not held else "left"
        self._do(
            "Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, buttons=int(button == "left"), clickCount=1
        )

    def _do(self, command: str, **parameters: Any) -> Any:
        return self.driver.execute_cdp_cmd(command, parameters)


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all tests of a process."""
    pytest.importorskip("selenium", reason="needs selenium, which the extra `test` brings")
    found = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
    binary, driver = next(filter(None, found), None), shutil.which("chromedriver")
    if binary is None or driver is None:
        reason = "needs a browser: chromium and chromedriver on PATH (Debian: apt-get install chromium-driver)"
        if os.environ.get("CELLGATE_BROWSER") == "require":  # what .ci/run sets: there a skip would hide a failure
            pytest.fail(reason)
        pytest.skip(reason)
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (*_FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # No Service.log_output and no look for a driver on the network: the path is given.
    service = Service(driver, log_output=subprocess.DEVNULL)
    started = webdriver.Chrome(options=options, service=service)
    try:
        yield Browser(started)
    finally:
        started.quit()


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """The browser; fails the test whose page complained or asked for anything."""
    yield chromium
    complaints, requests = chromium.complaints(), chromium.requests()
    chromium.driver.get("data:,")
    chromium.complaints()
    assert not complaints
    assert not requests
