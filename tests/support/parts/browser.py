from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.support.parts.not_run import not_run

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Give Debian's Chromium, headless, driven by Playwright."""
    if not CHROMIUM.exists():
        not_run("Chromium", "apt-get install chromium fonts-dejavu-core libatomic1, or tools/setup-real.sh")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def page(browser: Browser, *, width: int = 1500, height: int = 950) -> Iterator[Page]:
    """Give a page of its own; raise AssertionError at the end where a script of the page failed."""
    errors: list[str] = []
    context = browser.new_context(viewport={"width": width, "height": height})
    try:
        opened = context.new_page()
        opened.on("pageerror", lambda error: errors.append(str(error)))
        yield opened
    finally:
        context.close()
    if errors:
        raise AssertionError(f"scripts of the page failed: {errors}")
