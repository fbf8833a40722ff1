"""A real browser: what a person sees of the step-through page and does with it."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

_MOMENT = """
const each = (read) => [...document.querySelectorAll(".array-row")]
  .map((row) => [...row.children].map(read));
const texts = (name) => each((pe) => pe.querySelector("." + name).textContent);
const text = (id) => document.getElementById(id).textContent;
return {
  weight: texts("weight"), input: texts("input"), sum: texts("sum"),
  states: each((pe) => pe.dataset.state), edge: text("edge"), phase: text("phase"),
};
"""


class Page:
    """One browser, and what a person does with the page in it."""

    def __init__(self, driver: webdriver.Chrome, folder: Path) -> None:
        self.driver, self.folder = driver, folder

    def open(self, html: str) -> None:
        path = self.folder / "step.html"
        path.write_text(html, encoding="utf-8")
        self.driver.get_log("browser")
        self.driver.get_log("performance")
        self.driver.get(path.as_uri())

    def at(self, name: str) -> WebElement:
        return self.driver.find_element(By.ID, name)

    def text(self, name: str) -> str:
        return self.at(name).text

    def press(self, *keys: str) -> None:
        ActionChains(self.driver).send_keys(*keys).perform()

    def fill(self, field: WebElement, *values: object) -> None:
        """Types values over what stands there, going from field to field by Tab."""
        field.click()
        keys = ActionChains(self.driver).key_down(Keys.CONTROL).send_keys("a")
        keys.key_up(Keys.CONTROL)
        for value in values:
            keys.send_keys(str(value), Keys.TAB)
        keys.perform()

    def cell(self, label: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, f'[aria-label="{label}"]')

    def read(self, script: str) -> Any:
        return self.driver.execute_script(f"return {script}")

    def moment(self) -> dict:
        """The texts of all PEs, their states, edge and phase, as they stand."""
        return self.driver.execute_script(_MOMENT)

    def shown(self, register: str) -> list[list[str]]:
        return self.moment()[register]

    def results(self) -> list[str]:
        return self.read(
            "[...document.querySelectorAll('.result')].map(one => one.textContent)"
        )

    def edge(self) -> int:
        return int(self.text("edge").split()[0])

    def size(self, width: int, theme: str) -> None:
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
        )
        scheme = {"name": "prefers-color-scheme", "value": theme}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def requests(self) -> list[str]:
        """Addresses asked for since the page was opened, other than files.

        What the page's own policy stopped was not asked for.
        """
        log = self.driver.get_log("performance")
        events = [json.loads(one["message"])["message"] for one in log]
        stopped = {
            event["params"]["requestId"]
            for event in events
            if event["method"] == "Network.loadingFailed"
            and event["params"].get("blockedReason") == "csp"
        }
        asked = {
            event["params"]["requestId"]: event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        }
        return [
            url
            for request, url in asked.items()
            if request not in stopped and not url.startswith("file:")
        ]


@contextmanager
def launched(folder: Path) -> Iterator[Page]:
    """A headless browser of the system, which fetches nothing."""
    options = webdriver.ChromeOptions()
    options.binary_location = _found("chromium", "chromium-browser", "google-chrome")
    flags = ("headless=new", "no-sandbox", "disable-gpu", "hide-scrollbars")
    for flag in (*flags, "disable-dev-shm-usage"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # A driver that is named is not looked for, nor downloaded.
    driver = webdriver.Chrome(options=options, service=Service(_found("chromedriver")))
    try:
        yield Page(driver, folder)
    finally:
        driver.quit()


def _found(*names: str) -> str:
    """Path of the first program there is; where tests must run, there must be one."""
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        missing = f"no {names[0]} on this machine"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)
    return path
