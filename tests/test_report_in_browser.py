"""The report in a real browser: Debian's Chromium, without a screen. Skips, and says so, where there is none."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from evdata.report.facts import Facts
from evdata.report.page import page as write
from local.open_data import OpenData
from local.postgres import Database
from tests.handler_tools import Pipeline, build_pipeline
from tests.report_cases import CASES, facts_of, publish_all
from tests.test_transform import vehicle

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: make test-all installs it")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed: make test-all does it")

CHROMIUM: Final = os.environ.get("EV_CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.skipif(
        CHROMIUM is None,
        reason="there is no Chromium here: apt-get install chromium, or name one with EV_CHROMIUM",
    ),
]

PHONE, DESKTOP = (390, 844), (1440, 900)
WIDTHS: Final = (360, 390, 768, 821, 1024, 1440, 1600)
# Pictures with how many shapes each has drawn, and how far each reaches beyond the page.
DRAWN: Final = """() => [...document.querySelectorAll(".picture")].map((place) => {
  const box = place.querySelector("svg")?.getBoundingClientRect();
  return [place.id, place.querySelectorAll("svg path, svg text").length, box?.width ?? 0, box?.height ?? 0];
})"""
OVERFLOW: Final = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
PAPER: Final = "() => getComputedStyle(document.body).backgroundColor"
FILLS: Final = "() => [...document.querySelectorAll('#makes svg path')].map((path) => path.getAttribute('fill')).join()"
LIGHT, DARK = "rgb(255, 255, 255)", "rgb(16, 22, 28)"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        # Chromium's own sandbox does not start for root, as whom containers run.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        found = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield found
        found.close()


@contextmanager
def opened(browser: Any, path: Path, size: tuple[int, int] = DESKTOP, **how: Any) -> Iterator[Any]:
    """Open the page; at the end nothing may have been fetched, logged, thrown or asked."""
    trouble: list[str] = []
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, **how)
    page = context.new_page()
    page.on("console", lambda message: trouble.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: trouble.append(f"error: {error}"))
    page.on("dialog", lambda dialog: trouble.append(f"dialog: {dialog.message}"))
    page.on("dialog", lambda dialog: dialog.dismiss())
    page.on("request", lambda asked: trouble.append(f"request: {asked.url}"))
    page.goto(path.as_uri())
    yield page
    context.close()
    itself = (f"request: {path.as_uri()}", "request: data:,")  # the page, and the icon that it does not have
    assert [found for found in trouble if found not in itself] == []


@pytest.fixture
def source(open_data: Callable[..., OpenData]) -> OpenData:
    return open_data([vehicle(1)])


@pytest.fixture
def pipeline(aws: None, monkeypatch: pytest.MonkeyPatch, database: Database, source: OpenData) -> Pipeline:
    return build_pipeline(monkeypatch, database, source, max_rejected=1)


@pytest.fixture
def report(pipeline: Pipeline, source: OpenData, tmp_path: Path) -> Callable[[str], Path]:
    """The page of a case, in a file."""

    def make(case: str) -> Path:
        facts = Facts()
        if case != "empty database":
            publish_all(pipeline, source, CASES[case])
            facts = facts_of(pipeline)
        path = tmp_path / "report.html"
        path.write_text(write(facts), encoding="utf-8")
        return path

    return make


@pytest.mark.parametrize("case", ["empty database", *CASES])
def test_it_opens_at_every_width_draws_everything_and_nothing_goes_beyond_the_page(
    case: str, browser: Any, report: Callable[[str], Path]
) -> None:
    path = report(case)
    with opened(browser, path) as page:
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            page.wait_for_function(f"() => document.documentElement.clientWidth <= {width}")
            page.wait_for_timeout(60)  # drawn again with the next frame
            assert page.evaluate(OVERFLOW) <= 0, f"scrolls sideways at {width}"
            for picture, shapes, drawn_width, drawn_height in page.evaluate(DRAWN):
                assert shapes >= 3, f"{picture} is empty at {width}"
                assert 100 < drawn_width <= width, f"{picture} is {drawn_width} wide at {width}"
                assert drawn_height > 40
        page.evaluate("() => document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        page.set_viewport_size({"width": 360, "height": 640})
        page.wait_for_timeout(60)
        assert page.evaluate(OVERFLOW) <= 0, "a table scrolls within itself"


def test_axes_say_what_they_measure(browser: Any, report: Callable[[str], Path]) -> None:
    with opened(browser, report("two versions")) as page:

        def words(picture: str) -> set[str]:
            return set(page.eval_on_selector_all(f"#{picture} svg text", "(all) => all.map((one) => one.textContent)"))

        assert words("population") >= {"Vehicles", "1 Jun 2023", "1 Jul 2023", "55", "60", "0"}
        assert words("years") >= {"Vehicles", "Model year", "2020", "2023", "Battery electric", "Plug-in hybrid"}
        assert words("makes") >= {"Vehicles", "HYUNDAI", "32", "TESLA", "18"}
        assert words("moves") >= {"Pierce → King", "3", "Pierce → Los Angeles, CA", "1"}
        assert words("net-moves") >= {"King", "+3", "Pierce", "\N{MINUS SIGN}4"}
        assert words("map") >= {"King"}
        assert page.locator(".shades li").all_inner_texts() == ["none", "1 to 49", "50 or more"]


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_it_follows_the_system_s_theme_until_somebody_chooses(
    size: tuple[int, int], browser: Any, report: Callable[[str], Path]
) -> None:
    path = report("two versions")
    with opened(browser, path, size, color_scheme="light") as page:
        assert page.evaluate(PAPER) == LIGHT
        light = page.evaluate(FILLS)
        page.emulate_media(color_scheme="dark")
        page.wait_for_function(f"() => ({PAPER})() === '{DARK}'")
        dark = page.evaluate(FILLS)
        assert dark != light, "the pictures are drawn anew"
        page.get_by_role("button", name="Switch to light colours").click()
        assert (page.evaluate(PAPER), page.evaluate(FILLS)) == (LIGHT, light)
        page.reload()
        assert page.evaluate(PAPER) == LIGHT, "a choice is remembered"
        page.get_by_role("button", name="Switch to dark colours").click()
        assert (page.evaluate(PAPER), page.evaluate(FILLS)) == (DARK, dark)


def test_the_tables_open_scroll_and_are_saved_by_keyboard_alone(
    browser: Any, report: Callable[[str], Path], tmp_path: Path
) -> None:
    with opened(browser, report("two versions"), accept_downloads=True) as page:
        page.keyboard.press("Tab")
        assert page.evaluate("() => document.activeElement.textContent") == "Skip to the report"
        page.keyboard.press("Enter")
        assert page.evaluate("() => document.activeElement.id") == "report"
        table = page.get_by_role("table", name="Vehicles by make, the most common first")
        assert not table.is_visible()
        reached: list[str] = []
        while "Vehicles by make, the most common first" not in (reached or [""])[-1]:
            page.keyboard.press("Tab")
            reached.append(page.evaluate("() => document.activeElement.textContent"))
            assert len(reached) < 20, f"not reached by Tab: {reached}"
        page.keyboard.press("Enter")
        assert table.is_visible()
        assert table.get_by_role("rowheader", name="TESLA").is_visible()
        page.keyboard.press("Tab")
        assert page.evaluate("() => document.activeElement.className") == "behind", "it can be scrolled by keys"
        page.keyboard.press("Tab")
        with page.expect_download() as started:
            page.keyboard.press("Enter")
        started.value.save_as(tmp_path / "makes.csv")
        assert started.value.suggested_filename == "makes.csv"
    assert (tmp_path / "makes.csv").read_bytes().decode("utf-8-sig").split("\r\n") == [
        '"Make","Vehicles","Battery electric","Plug-in hybrid"',
        '"HYUNDAI","32","32","0"',
        '"TESLA","18","18","0"',
        '"BMW","10","0","10"',
        "",
    ]


def test_a_text_that_a_spreadsheet_would_run_is_saved_as_text(
    browser: Any, report: Callable[[str], Path], tmp_path: Path
) -> None:
    with opened(browser, report("markup"), accept_downloads=True) as page:
        details = page.locator("figure:has(#models) details")
        details.locator("summary").click()
        details.locator("th").last.evaluate("(cell) => { cell.textContent = '=HYPERLINK(1)'; }")
        with page.expect_download() as started:
            details.get_by_role("button").click()
        started.value.save_as(tmp_path / "models.csv")
    assert '"\'=HYPERLINK(1)"' in (tmp_path / "models.csv").read_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("case", ["two versions", "rejections", "empty database", "long names"])
def test_the_rules_of_accessibility_find_nothing(
    case: str, scheme: str, browser: Any, report: Callable[[str], Path]
) -> None:
    with opened(browser, report(case), color_scheme=scheme) as page:
        page.evaluate("() => document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        found = axe.Axe().run(page)
        assert found.violations_count == 0, found.generate_report()


def test_a_tip_shows_markup_as_text(browser: Any, report: Callable[[str], Path]) -> None:
    with opened(browser, report("markup")) as page:
        picture = page.locator("#models")
        picture.scroll_into_view_if_needed()
        box = picture.bounding_box()
        page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.4)
        tip = page.locator(".tip").first
        tip.wait_for()
        assert "<img src=x onerror=alert(2)>" in tip.inner_text() or "=HYPERLINK(1)" in tip.inner_text()
        assert page.locator("img").count() == 0


def test_on_paper_it_is_light_and_within_the_sheet(browser: Any, report: Callable[[str], Path], tmp_path: Path) -> None:
    with opened(browser, report("two versions"), (1440, 900), color_scheme="dark") as page:
        page.evaluate("() => dispatchEvent(new Event('beforeprint'))")
        page.emulate_media(media="print", color_scheme="light")
        page.set_viewport_size({"width": 700, "height": 1000})  # A4 within its margins
        page.wait_for_timeout(60)
        assert page.evaluate(PAPER) == LIGHT
        assert page.evaluate(OVERFLOW) <= 0
        assert all(width <= 700 for _, _, width, _ in page.evaluate(DRAWN))
        assert not page.get_by_role("button").first.is_visible()
        assert len(page.pdf(format="A4")) > 20_000


def test_without_scripts_every_number_is_still_there(browser: Any, report: Callable[[str], Path]) -> None:
    with opened(browser, report("two versions"), java_script_enabled=False) as page:
        # (Chromium with scripts switched off from outside does not show <noscript>; one whose user did so does.)
        page.get_by_text("The numbers as a table: Vehicles by make, ").click()
        assert page.get_by_role("rowheader", name="TESLA").is_visible()


def test_nothing_that_is_slipped_in_can_run_or_reach_the_network(browser: Any, report: Callable[[str], Path]) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(report("one version").as_uri())
    page.evaluate("""() => {
      const script = document.createElement("script");
      script.textContent = "window.ran = true";
      document.body.append(script);
      const image = document.createElement("div");
      image.innerHTML = "<img src=x onerror='window.ran = true'>";
      document.body.append(image);
    }""")
    page.wait_for_timeout(200)
    assert page.evaluate("() => window.ran") is None
    assert page.evaluate("() => fetch('https://example.org').then(() => 'reached', () => 'refused')") == "refused"
    context.close()
