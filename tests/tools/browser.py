"""A browser without a window, driven through chromedriver as https://www.w3.org/TR/webdriver2/ says."""
import contextlib
import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # what the specification calls a web element identifier
ARROW_LEFT, ARROW_RIGHT, END, HOME, TAB = "\ue012", "\ue014", "\ue010", "\ue011", "\ue004"
PATIENCE = 60  # seconds, for what a page does at once


def programs():
    """The paths of Chromium and its driver; None where one is missing."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


class DoesNotStart(Exception):
    """The browser or its driver, on this machine."""


class Browser:
    def __init__(self, base, session):
        self._base, self._session = base, session

    def _call(self, method, path, body=None):
        data = None if method == "GET" else json.dumps(body or {}).encode()
        request = urllib.request.Request(f"{self._base}{path}", data, {"Content-Type": "application/json"}, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=PATIENCE) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {json.load(error)['value']['message']}") from None

    def _ask(self, path, body=None, method="POST"):
        return self._call(method, f"/session/{self._session}{path}", body)

    def _chromium(self, command, **parameters):
        return self._ask("/goog/cdp/execute", {"cmd": command, "params": parameters})

    def open(self, url):
        self._ask("/url", {"url": url})

    def look(self, width, height=900, scheme="light", media="screen"):
        """A window's size, of a phone below 600 pixels, and what media queries are answered with."""
        self._chromium("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                       mobile=width < 600)
        self._chromium("Emulation.setEmulatedMedia", media=media,
                       features=[{"name": "prefers-color-scheme", "value": scheme}])

    def run(self, script, *arguments):
        return self._ask("/execute/sync", {"script": script, "args": list(arguments)})

    def _find(self, css):
        return self._ask("/element", {"using": "css selector", "value": css})[ELEMENT]

    def click(self, css):
        self._ask(f"/element/{self._find(css)}/click")

    def text(self, css):
        return self._ask(f"/element/{self._find(css)}/text", method="GET")

    def is_shown(self, css):
        return self._ask(f"/element/{self._find(css)}/displayed", method="GET")

    def attribute(self, css, name):
        return self.run("return document.querySelector(arguments[0]).getAttribute(arguments[1])", css, name)

    def hover(self, css):
        self._ask("/actions", {"actions": [{"type": "pointer", "id": "mouse", "actions": [
            {"type": "pointerMove", "origin": {ELEMENT: self._find(css)}, "x": 0, "y": 0, "duration": 0}]}]})

    def press(self, key):
        self._ask("/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": [
            {"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]}]})

    def swipe(self, css, by):
        x, y, width, height = self.run("""const r = document.querySelector(arguments[0]).getBoundingClientRect();
            return [r.x, Math.max(r.y, 0), r.width, r.height]""", css)
        at = {"x": int(x + width / 2), "y": int(y + min(height / 2, 300))}
        self._chromium("Emulation.setTouchEmulationEnabled", enabled=True)
        self._ask("/actions", {"actions": [{"type": "pointer", "id": "finger", "parameters": {"pointerType": "touch"},
                                            "actions": [
            {"type": "pointerMove", **at, "duration": 0}, {"type": "pointerDown", "button": 0},
            {"type": "pointerMove", "x": at["x"] + by, "y": at["y"], "duration": 100},
            {"type": "pointerUp", "button": 0}]}]})

    def errors(self):
        """What the pages' scripts complained of since the last call."""
        return [entry["message"] for entry in self._ask("/se/log", {"type": "browser"})]


@contextlib.contextmanager
def started(directory):
    """A browser that keeps its files in a directory, until the end of the block."""
    browser, driver = programs()
    log = os.path.join(directory, "chromedriver.log")
    with open(log, "wb") as out:
        process = subprocess.Popen([driver, "--port=0"], stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + PATIENCE
        while not (found := re.search(rb"successfully on port (\d+)", open(log, "rb").read())):
            if process.poll() is not None or time.monotonic() > deadline:
                raise DoesNotStart("chromedriver: " + open(log, errors="replace").read())
            time.sleep(0.05)
        options = ["--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--force-device-scale-factor=1",
                   f"--user-data-dir={os.path.join(directory, 'profile')}"]
        if os.geteuid() == 0:
            options.append("--no-sandbox")  # Chromium refuses to start as root with it
        page = Browser(f"http://127.0.0.1:{int(found[1])}", "")
        try:
            page._session = page._call("POST", "/session", {"capabilities": {"alwaysMatch": {
                "goog:chromeOptions": {"binary": browser, "args": options},
                "goog:loggingPrefs": {"browser": "WARNING"}}}})["sessionId"]
        except (AssertionError, OSError) as error:
            raise DoesNotStart(error) from None
        yield page
        page._ask("", method="DELETE")
    finally:
        process.terminate()
        process.wait()
