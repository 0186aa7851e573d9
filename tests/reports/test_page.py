"""The HTML report in a real Chromium: it opens from a file, asks for nothing, and can be read, filtered and printed by everybody."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import pytest

from pytest_sandbox.reports.model import Report, report_of
from pytest_sandbox.reports.writing import write

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Dialog, Page

REQUIRED: Final = "PYTEST_SANDBOX_REQUIRE_BROWSER"
Scheme = Literal["light", "dark"]
SCHEMES: Final[tuple[Scheme, ...]] = ("light", "dark")

Use = Callable[["Browser"], Any]
InBrowser = Callable[[Use], Any]
Files = dict[str, str]


@pytest.fixture(scope="session")
def in_browser() -> Iterator[InBrowser]:
    """Run a function with a browser; in a thread of its own, where Playwright's event loop is in nobody's way."""
    program = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
    missing = "" if program else "no chromium, chromium-browser or google-chrome on PATH (scripts/install-engines --with-chromium)"
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        missing = f"playwright cannot be imported: {error}"
    if missing:
        if os.environ.get(REQUIRED, "").strip():
            pytest.fail(f"{REQUIRED} is set, and there is {missing}", pytrace=False)
        pytest.skip(missing)
    with ThreadPoolExecutor(1) as thread:
        playwright = thread.submit(lambda: sync_playwright().start()).result()
        # Chromium's own sandbox needs a user other than root, or privileges that containers do not have; the pages are ours.
        arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
        browser = thread.submit(lambda: playwright.chromium.launch(executable_path=program, args=arguments)).result()
        yield lambda use: thread.submit(use, browser).result()
        thread.submit(browser.close).result()
        thread.submit(playwright.stop).result()


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory, report: Report, hostile_everything: Report) -> Files:
    """Reports as file addresses."""
    folder = tmp_path_factory.mktemp("pages")
    reports = {"whole": report, "run": report_of(None, report.run), "empty": report_of(), "hostile": hostile_everything}
    for name, one in reports.items():
        write(one, folder / f"{name}.html")
    return {name: (folder / f"{name}.html").as_uri() for name in reports}


class Opened:
    """A page, and all that it said and asked for."""

    def __init__(self, context: BrowserContext, address: str) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        self.refused: list[str] = []
        self.page: Page = context.new_page()
        self.page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        self.page.on("dialog", self._dismiss)
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("requestfailed", lambda request: self.refused.append(f"{request.url} {request.failure}"))
        self.page.route("**/*", lambda route: route.continue_() if route.request.url == address else route.abort())
        self.page.goto(address)

    def _dismiss(self, dialog: Dialog) -> None:
        self.said.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def rows(self) -> list[str]:
        """Return the ids of the guarantees that the matrix shows."""
        return self.page.locator("tr.g:visible > th > a").all_inner_texts()


def open_page(browser: Browser, address: str, **options: Any) -> Opened:
    return Opened(browser.new_context(**options), address)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_it_opens_without_a_word_and_without_a_request(in_browser: InBrowser, files: Files, scheme: Scheme) -> None:
    def use(browser: Browser) -> None:
        for name, address in files.items():
            opened = open_page(browser, address, color_scheme=scheme)
            assert opened.page.locator("h1").is_visible(), name
            assert opened.page.locator("html.js").count() == 1, "the script did not run"
            assert (opened.said, opened.asked) == ([], [address]), name
            opened.page.context.close()

    in_browser(use)


def test_hostile_text_does_nothing_and_can_be_read(in_browser: InBrowser, files: Files) -> None:
    def use(browser: Browser) -> None:
        opened = open_page(browser, files["hostile"])
        page = opened.page
        page.locator("#open").click()
        for element in page.locator("summary, details.src").all():
            element.hover(force=True)
        assert (opened.said, opened.asked) == ([], [files["hostile"]])
        assert page.title() == "1 guarantee is violated · Sandbox audit and test run"
        assert page.locator("img, iframe, form[action], a[href^=http], main script").count() == 0
        shown = page.locator("main").inner_text()
        assert '<script>document.title="owned"</script>' in shown and r"\u202eabc" in shown and r"\x1b[31mred" in shown
        page.context.close()

    in_browser(use)


def test_markup_that_was_let_in_could_do_nothing_either(in_browser: InBrowser, files: Files, tmp_path: Path) -> None:
    source = Path(files["whole"].removeprefix("file://")).read_text(encoding="utf-8")
    attack = "<script>document.title = 'owned'</script><img src=x onerror=\"document.title = 'owned'\"><style>h1 { display: none }</style>"
    leaky = source.replace('<main id="main" class="wrap">', f'<main id="main" class="wrap">{attack}')
    start = leaky.index("<meta http-equiv")
    unprotected = leaky[:start] + leaky[leaky.index(">", start) + 1 :]
    (tmp_path / "leaky.html").write_text(leaky, encoding="utf-8")
    (tmp_path / "unprotected.html").write_text(unprotected, encoding="utf-8")

    def use(browser: Browser) -> None:
        opened = open_page(browser, (tmp_path / "leaky.html").as_uri())
        assert opened.page.title() != "owned" and opened.page.locator("h1").is_visible()
        assert opened.page.locator("html.js").count() == 1, "our own script did not run"
        image = (tmp_path / "x").as_uri()
        assert opened.refused == [f"{image} csp"], "the policy did not stop the image"
        control = open_page(browser, (tmp_path / "unprotected.html").as_uri())
        control.page.wait_for_function("document.title === 'owned'")
        assert not control.page.locator("h1").is_visible() and control.refused == [f"{image} net::ERR_FAILED"]
        opened.page.context.close()
        control.page.context.close()

    in_browser(use)


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_verdicts_and_executors_can_be_filtered_by_keyboard(in_browser: InBrowser, files: Files, scripts: bool) -> None:
    def use(browser: Browser) -> None:
        opened = open_page(browser, files["whole"], java_script_enabled=scripts, viewport={"width": 1400, "height": 900})
        page = opened.page
        everything = opened.rows()
        assert len(everything) == 26 and "network" in everything
        for verdict in ("held", "not-promised"):
            page.locator(f"#v-{verdict}").focus()
            page.keyboard.press("Space")
        assert sorted(opened.rows()) == ["cpu-limit", "memory-limit"]
        assert page.locator("article.g:visible h4").count() == 2
        assert page.locator("details.e.held:visible").count() == 0 and page.locator("details.e.violated:visible").count() == 1
        assert page.locator("tr.fam:visible").count() == 2, "only families that have a row left are named"
        page.locator("#x-4").focus()
        page.keyboard.press("Space")
        assert opened.rows() == ["cpu-limit"]
        assert page.locator("th.x4:visible, td.x4:visible, article.x4:visible").count() == 0
        if scripts:
            assert page.locator("#found").inner_text() == "1 of 26 guarantees"
        page.locator("#x-4").press("Space")
        for verdict in ("held", "not-promised"):
            page.locator(f"#v-{verdict}").press("Space")
        assert opened.rows() == everything
        assert page.locator("#text").is_visible() == scripts, "what needs a script is not offered without"
        assert opened.said == []
        page.context.close()

    in_browser(use)


def test_text_can_be_filtered(in_browser: InBrowser, files: Files) -> None:
    def use(browser: Browser) -> None:
        opened = open_page(browser, files["whole"])
        page = opened.page
        page.locator("#text").fill("NO VARIABLE, argument")
        assert opened.rows() == ["environment"]
        assert page.locator("#found").inner_text() == "1 of 26 guarantees"
        assert page.locator("tr.fam:visible").count() == 1 and page.locator(".fs:visible").count() == 1
        page.locator("#text").fill("nothing of the kind")
        assert opened.rows() == [] and page.locator("#none").is_visible()
        page.locator("#text").fill("")
        assert len(opened.rows()) == 26 and not page.locator("#none").is_visible()
        page.context.close()

    in_browser(use)


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_evidence_opens_by_keyboard(in_browser: InBrowser, files: Files, scripts: bool) -> None:
    def use(browser: Browser) -> None:
        opened = open_page(browser, files["whole"], java_script_enabled=scripts)
        page = opened.page
        evidence = page.locator("#e2-network")
        assert not evidence.is_visible()
        # From the first row's name to the second executor's cell.
        page.locator("tr[data-g=network] > th > a").focus()
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        evidence.wait_for(state="visible")
        assert "ReferenceError: fetch is not defined" in evidence.inner_text()
        assert "Witness of each, such as: trying 0" in evidence.inner_text() and "plain node 24.19.0" in evidence.inner_text()
        assert (
            "nobody knocked on 127.0.0.1:34567" in evidence.inner_text()
            and "node 24.19.0" in evidence.locator(".under").inner_text()
        )
        # From an attack to its source, and back.
        evidence.locator("tbody th a").first.focus()
        page.keyboard.press("Enter")
        source = page.locator("details.src:has(#a1)")
        page.locator("#a1").wait_for(state="visible")
        assert "network.p0" in page.locator("#a1").inner_text()
        assert "return fetch(probe.url)" in source.inner_text() and "the listener was called" in source.inner_text()
        summary = page.locator("details.e:has(#e2-network) > summary")
        summary.focus()
        page.keyboard.press("Enter")
        assert not evidence.is_visible()
        page.keyboard.press("Space")
        assert evidence.is_visible()
        # What is wrong needs no opening.
        assert page.locator("#e4-memory-limit").is_visible() and page.locator("#e6-cpu-limit").is_visible()
        assert opened.said == []
        page.context.close()

    in_browser(use)


def test_a_link_into_the_page_opens_its_evidence(in_browser: InBrowser, files: Files) -> None:
    def use(browser: Browser) -> None:
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"{files['whole']}#e1-state")
        assert page.locator("#e1-state").is_visible()
        page.locator("#shut").click()
        assert page.locator("details.e[open]:visible").count() == page.locator(".t-failed[open]").count() == 0
        page.locator("#open").click()
        assert page.locator("details.e:not([open])").count() == 0
        context.close()

    in_browser(use)


CONTRAST = """
() => {
  const channel = (value) => (value /= 255) <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const parse = (color) => (color.match(/[\\d.]+/g) ?? []).map(Number);
  const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const ground = (element) => {
    for (let at = element; at !== null; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color.length === 3 || color[3] > 0) return color;
    }
    return [255, 255, 255];
  };
  const poor = [];
  let seen = 0;
  for (const element of document.querySelectorAll("body *")) {
    const hasText = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim() !== "");
    const isSvg = element instanceof SVGElement;
    if (!hasText || !element.checkVisibility() || element.closest(".vh, script, style")) continue;
    seen++;
    const style = getComputedStyle(element);
    const one = luminance(parse(isSvg ? style.fill : style.color));
    const other = luminance(ground(element));
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (ratio < 4.5) poor.push([ratio.toFixed(2), element.tagName, element.className, element.textContent.trim().slice(0, 40)]);
  }
  return [seen, poor];
}
"""


@pytest.mark.parametrize("scheme", SCHEMES)
def test_all_text_stands_out_from_its_ground(in_browser: InBrowser, files: Files, scheme: Scheme) -> None:
    def use(browser: Browser) -> None:
        # On paper, both schemes are one.
        media: Literal["screen", "print"]
        for media in ("screen", "print") if scheme == "dark" else ("screen",):
            opened = open_page(browser, files["whole"], color_scheme=scheme)
            opened.page.locator("#open").click()
            opened.page.emulate_media(media=media, color_scheme=scheme)
            seen, poor = opened.page.evaluate(CONTRAST)
            assert seen > 500
            assert poor == []
            # The check itself can fail.
            opened.page.locator("h1").evaluate("(element) => { element.style.color = 'rgb(128, 128, 128)'; }")
            assert [row[1] for row in opened.page.evaluate(CONTRAST)[1]] == ["H1"]
            opened.page.context.close()

    in_browser(use)


NAMED: Final = {
    "link",
    "button",
    "checkbox",
    "searchbox",
    "textbox",
    "img",
    "image",
    "region",
    "DisclosureTriangle",
    "group",
    "table",
    "article",
}


def test_everything_has_a_name_for_those_who_cannot_see_it(in_browser: InBrowser, files: Files) -> None:
    def use(browser: Browser) -> None:
        opened = open_page(browser, files["whole"])
        opened.page.locator("#open").click()
        session = opened.page.context.new_cdp_session(opened.page)
        nodes = [node for node in session.send("Accessibility.getFullAXTree")["nodes"] if not node["ignored"]]
        roles = {node["role"]["value"] for node in nodes}
        assert {"link", "checkbox", "searchbox", "button", "region", "table", "main", "navigation", "contentinfo"} <= roles
        assert "image" in roles or "img" in roles
        nameless = [
            node["role"]["value"]
            for node in nodes
            if node["role"]["value"] in NAMED - {"table", "group"} and not node.get("name", {}).get("value", "").strip()
        ]
        assert nameless == []
        names = {node["name"]["value"] for node in nodes if node["role"]["value"] == "link"}
        assert "violated: memory-limit on vm2, 1 of 3 attacks got through" in names
        levels = [
            int(tag[1]) for tag in opened.page.locator("h1, h2, h3, h4, h5").evaluate_all("(all) => all.map((one) => one.tagName)")
        ]
        assert levels[0] == 1 and levels.count(1) == 1
        assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
        opened.page.context.close()

    in_browser(use)


def test_verdicts_differ_in_colour_shape_and_word(in_browser: InBrowser, files: Files) -> None:
    def use(browser: Browser) -> None:
        opened = open_page(browser, files["whole"])
        looks = []
        for verdict in ("held", "violated", "inconclusive", "not-promised"):
            mark = opened.page.locator(f"td.c.{verdict} > a").first
            colour = mark.evaluate("(element) => getComputedStyle(element).color")
            shape = mark.locator("use").get_attribute("href") or ""
            looks.append((colour, shape, mark.inner_text().split("\n")[0]))
        assert all(len(set(column)) == 4 for column in zip(*looks, strict=True)), looks
        assert all(text == shape.removeprefix("#i-").replace("-", " ") for _, shape, text in looks)
        opened.page.context.close()

    in_browser(use)


@pytest.mark.parametrize("name", ["whole", "hostile"])
def test_no_width_makes_the_page_scroll_sideways(in_browser: InBrowser, files: Files, name: str) -> None:
    def use(browser: Browser) -> None:
        for width in (340, 1000):
            opened = open_page(browser, files[name], viewport={"width": width, "height": 900})
            opened.page.locator("#open").click()
            wide = opened.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wide == 0, f"{wide} pixels at a width of {width}"
            opened.page.context.close()

    in_browser(use)


def test_it_prints(in_browser: InBrowser, files: Files) -> None:
    def use(browser: Browser) -> None:
        opened = open_page(browser, files["whole"], color_scheme="dark")
        page = opened.page
        pdf = page.pdf(format="A4")
        assert pdf.startswith(b"%PDF") and len(pdf) > 20_000
        page.emulate_media(media="print", color_scheme="dark")
        assert page.locator(".filters:visible, nav:visible").count() == 0
        assert page.locator("table.matrix").is_visible() and page.locator("#e4-memory-limit").is_visible()
        assert page.locator("body").evaluate("(element) => getComputedStyle(element).backgroundColor") == "rgb(255, 255, 255)"
        page.context.close()

    in_browser(use)
