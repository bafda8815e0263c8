"""The page in a real browser: eight labels by keyboard, ranking, editing, forgetting, and no finding of axe-core."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from service_settings import SETTINGS
from tiny_reward import make_worded_reward

from fspo_jax.serving.app import make_app
from fspo_jax.serving.pool import Pool
from fspo_jax.serving.users import Users

playwright_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
axe_api = pytest.importorskip("axe_core_python.sync_playwright", reason="axe-core is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
SCREENSHOTS = os.environ.get("FSPO_SCREENSHOTS", "")
"""A folder for pictures of the pages."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

POOL = Pool(
    [
        (
            f"Question {i}?",
            [f"A <b>short</b> {i}.", f"A much longer answer, number {i}. " * 4, f"- list\n- {i}"],
        )
        for i in range(8)
    ]
)
PEOPLE = {
    "light": {"viewport": {"width": 1100, "height": 800}},
    "dark": {"viewport": {"width": 1100, "height": 800}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 375, "height": 760}, "has_touch": True, "is_mobile": True},
}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service in a thread."""
    users = Users(str(tmp_path_factory.mktemp("users") / "users.db"))
    app = make_app(make_worded_reward(), users, replace(SETTINGS, pool=POOL))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="on"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright_api.sync_playwright() as playwright:
        # The sandbox of Chromium does not start for root.
        options = ["--no-sandbox"] if os.getuid() == 0 else []
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield opened
        opened.close()


@contextlib.contextmanager
def visitor(browser: Any, address: str, **options: Any) -> Iterator[Any]:
    """A page of a visitor who has signed in as ana; nothing may be complained about in the console."""
    context = browser.new_context(**options)
    page = context.new_page()
    trouble: list[str] = []
    page.on("console", lambda message: message.type == "error" and trouble.append(message.text))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("dialog", lambda dialog: trouble.append("a dialog"))
    page.goto(f"{address}/teach")
    page.fill("#token", "token-of-ana-0000")
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:has-text('Which')")
    yield page
    context.close()
    if not SCREENSHOTS:  # to take one, Playwright adds a style, which the page does not let it do
        assert not trouble


PAINT = """new Promise(done => {
  const look = () => {
    const found = performance.getEntriesByName("first-contentful-paint")[0];
    found ? done(found.startTime) : setTimeout(look, 20);
  };
  look();
})"""


def first_paint(page: Any) -> float:
    """Milliseconds until something is seen, the best of five: the machine may be busy with other tests."""
    times = []
    for _ in range(5):
        page.reload()
        times.append(page.evaluate(PAINT))
    return min(times)


def press(page: Any, key: str) -> None:
    """Presses a key and waits for the next question."""
    before = page.input_value("[name=key]")
    page.keyboard.press(key)
    page.wait_for_selector(f"[name=key]:not([value='{before}'])", state="attached")


def check_access(page: Any) -> None:
    """No finding of axe-core, and no scrolling sideways."""
    found = axe_api.Axe().run(page)
    assert [(one["id"], one["impact"], one["nodes"][0]["html"]) for one in found["violations"]] == []
    width = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert width == 0


def keep(page: Any, name: str) -> None:
    """Keeps a picture for somebody to look at."""
    if SCREENSHOTS:
        page.screenshot(path=Path(SCREENSHOTS) / f"{name}.png", full_page=True)


@pytest.mark.parametrize("look", PEOPLE)
def test_eight_pairs_by_keyboard_then_beliefs_ranking_and_forgetting(
    browser: Any, address: str, look: str
) -> None:
    with visitor(browser, address, **PEOPLE[look]) as page:
        assert first_paint(page) < 500
        started = time.monotonic()
        for number in range(8):
            assert page.evaluate("document.activeElement.tagName") in ("H1", "BODY")
            press(page, ("ArrowLeft", "ArrowRight")[number % 2])
        assert time.monotonic() - started < 120
        said = page.inner_text("#said")
        assert said.startswith("You chose B. The model's guess was")
        assert "8 labels so far. Of 1 test question" in page.inner_text("main")
        check_access(page)
        keep(page, f"{look}-ask")
        press(page, "t")
        press(page, "s")
        press(page, "u")
        assert page.inner_text("#said") == "The last answer is undone."

        for name in ("Beliefs", "Labels"):
            page.click(f"nav a:has-text('{name}')")
            page.wait_for_selector(f"nav a:has-text('{name}')[aria-current=page]")
            check_access(page)
            keep(page, f"{look}-{name.lower()}")
        assert page.locator("section.card").count() == 8
        page.click("section.card:first-of-type button:has-text('Turn round')")
        page.wait_for_selector("#said:has-text('turned round')")
        page.click("section.card:first-of-type button:has-text('Forget')")
        page.wait_for_selector("h1:has-text('7 labels')")
        with page.expect_download() as download:
            page.click("a:has-text('Export')")
        assert download.value.suggested_filename == "ana.json"

        page.click("nav a:has-text('Rank')")
        page.wait_for_selector("#candidate-1")
        page.fill("#prompt", "Why?")
        for number, text in enumerate(
            ("<img src=x onerror=alert(1)>", "Because it is so, always.", "- a\n- b"), 1
        ):
            page.fill(f"#candidate-{number}", text)
        page.keyboard.press("Tab")
        page.click("main button:has-text('Rank')")
        page.wait_for_selector(".ranking")
        assert page.locator(".ranking > li").count() == 3
        check_access(page)
        keep(page, f"{look}-rank")

        page.click("nav a:has-text('Labels')")
        page.wait_for_selector("summary:has-text('Forget everything')")
        page.click("summary:has-text('Forget everything')")
        page.click("button:has-text('Yes, forget everything')")
        page.wait_for_selector("#said:has-text('forgotten')")
        assert "0 labels so far" in page.inner_text("main")
        page.click("button:has-text('Sign out')")
        page.wait_for_selector("#token")
        check_access(page)


def test_keys_can_be_turned_off_and_stay_off(browser: Any, address: str) -> None:
    with visitor(browser, address) as page:
        page.uncheck("#keys")
        for _ in range(2):
            before = page.input_value("[name=key]")
            page.keyboard.press("ArrowLeft")
            page.wait_for_timeout(200)
            assert page.input_value("[name=key]") == before
            page.reload()
            assert not page.is_checked("#keys")


def test_page_works_without_scripts(browser: Any, address: str) -> None:
    with visitor(browser, address, java_script_enabled=False) as page:
        page.click("button:has-text('I prefer B')")
        page.wait_for_selector("#said:has-text('You chose B')")
        page.click("button:has-text('Undo')")
        page.wait_for_selector("#said:has-text('undone')")
