"""A headless Chromium for tests of pages, and the library that checks their accessibility."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

AXE = "axe-core@4"
AXE_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def missing(message: str) -> NoReturn:
    """Skip a test that needs what is not here; fail where it is promised."""
    if os.environ.get("VCN_REQUIRE_BROWSER") == "1":
        pytest.fail(message)
    pytest.skip(message)


def program(*names: str) -> str:
    """The path of a program by one of its names."""
    found = next((path for name in names if (path := shutil.which(name))), None)
    return found or missing(
        f"no {names[0]} here: on Debian, apt-get install chromium chromium-driver"
    )


@contextmanager
def open_browser(width: int = 1280, height: int = 800) -> Iterator[Chrome]:
    """A browser with a window of its own."""
    options = ChromeOptions()
    options.binary_location = program("chromium", "chromium-browser", "google-chrome")
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument("--force-prefers-reduced-motion")
    options.add_argument(f"--window-size={width},{height}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=Service(program("chromedriver")))
    set_size(driver, width, height)
    try:
        yield driver
    finally:
        driver.quit()


def set_size(driver: Chrome, width: int, height: int) -> None:
    """Give the page so many pixels of CSS."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def set_dark(driver: Chrome, dark: bool) -> None:
    """Choose between the dark and the light look."""
    feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})


def logged(driver: Chrome) -> list[dict[str, Any]]:
    """What a page wrote to the browser's console since it was last asked: errors and warnings."""
    lines: list[dict[str, Any]] = driver.get_log("browser")  # type: ignore[no-untyped-call]
    return lines


def fetch_axe(folder: Path) -> str:
    """The source of axe-core, installed into a folder by npm."""
    npm = shutil.which("npm") or missing("no npm here, which brings axe-core")
    words = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder)]
    done = subprocess.run([*words, AXE], capture_output=True, text=True, timeout=180, check=False)
    script = folder / "node_modules" / "axe-core" / "axe.min.js"
    if not script.is_file():
        missing(f"npm cannot install {AXE}: {done.stderr.strip()[-300:]}")
    return script.read_text(encoding="utf-8")


def violations(driver: Chrome, axe: str) -> list[str]:
    """What axe-core finds wrong with a page as it is now, a line each."""
    driver.execute_script(axe)
    found = driver.execute_async_script(
        "const [rules, done] = arguments;"
        "axe.run(document, { runOnly: rules })"
        ".then((found) => done(found.violations), (error) => done(String(error)));",
        AXE_RULES,
    )
    assert isinstance(found, list), found
    return [
        f"{rule['id']}: {rule['help']}: {[node['html'][:160] for node in rule['nodes'][:3]]}"
        for rule in found
    ]
