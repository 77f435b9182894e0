"""Draw docs/images/report-light.png and report-dark.png: the first panel of a real report, as a browser shows it.

    cellgate train airline --horizon 12 --out model
    cellgate explain model --out report.html
    python scripts/draw_report.py report.html docs/images

Needs chromium and chromedriver on PATH, and the extra `test`.
"""

import base64
import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

WIDTH, MOST = 1180, 300_000  # pixels, bytes


def main(report: Path, folder: Path) -> None:
    with tempfile.TemporaryDirectory() as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or ""
        for flag in ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", f"--user-data-dir={profile}"):
            options.add_argument(flag)
        driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        try:
            for theme in ("light", "dark"):
                draw(driver, report, theme, folder / f"report-{theme}.png")
        finally:
            driver.quit()


def draw(driver: webdriver.Chrome, report: Path, theme: str, path: Path) -> None:
    features = [{"name": "prefers-color-scheme", "value": theme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    size = {"width": WIDTH, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    driver.get(report.resolve().as_uri())
    begin, end = (
        driver.execute_script(f"return document.querySelector('{part}').getBoundingClientRect().top + scrollY")
        for part in ("#example", "#units")
    )
    clip = {"x": 0, "y": begin - 6, "width": WIDTH, "height": end - begin - 20, "scale": 1}
    taken = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    picture = Image.open(io.BytesIO(base64.b64decode(taken["data"]))).convert("RGB")
    picture.save(path, optimize=True)
    print(path, path.stat().st_size, "bytes")
    assert path.stat().st_size < MOST


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
