"""The page at `/`, in a real browser, at the width of a desk and of a phone."""

from __future__ import annotations

import json
import re
from itertools import pairwise

import pytest

from fr_reranker_plugin import DocumentIndex, ModelSettings, SharedEncoder, SharedScorer
from fr_reranker_plugin.serving import ApiKeys, ServerSettings
from fr_reranker_plugin.serving.problems import KINDS
from serving.browser import DESKTOP, NARROWEST, PHONE, chromium, tab
from serving.conftest import running
from serving.page_documents import HOSTILE, QUESTION, documents

WIDTHS = pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
ROWS = 10
CONTRAST = """() => {
  const channel = (value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const numbers = (color) => color.match(/[0-9.]+/g).map(Number);
  const paper = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const color = numbers(getComputedStyle(one).backgroundColor);
      if (color[3] !== 0) return color;
    }
    return [255, 255, 255];
  };
  const low = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let seen = 0;
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const isUnseen = !element.checkVisibility() || element.closest(".unseen, noscript, option");
    if (!walker.currentNode.textContent.trim() || isUnseen) continue;
    const both = [numbers(getComputedStyle(element).color), paper(element)].map(luminance);
    const [light, dark] = both.sort((a, b) => b - a);
    const ratio = (light + 0.05) / (dark + 0.05);
    seen += 1;
    if (ratio < 4.5) low.push(`${walker.currentNode.textContent.slice(0, 30)}: ${ratio.toFixed(2)}`);
  }
  return { low, seen };
}"""
NAMES = """() => [...document.querySelectorAll("button, a[href], input, select, textarea, summary")].filter(
  (one) => one.checkVisibility()).map((one) => [one.outerHTML.slice(0, 80),
  (one.labels?.length ? one.labels[0].textContent : one.getAttribute("aria-label") ?? one.textContent).trim(),
  one.getBoundingClientRect().height])"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("index") / "folder"
    encoder = SharedEncoder(ModelSettings(model="embedded"))
    with DocumentIndex.create(folder, encoder) as index:
        index.add(documents())
        index.save()
    encoder.close()
    return folder


@pytest.fixture(scope="module")
def server(folder, tiny_model: str):
    """A server with a tiny model: it ranks as it likes, and everything moves."""
    with running(SharedScorer(ModelSettings(model=tiny_model)), index=folder) as server:
        yield server


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def answer(server):
    """What the server says, for comparison with what the page shows."""
    return server.post("/retrieve", {"query": QUESTION, "candidates": 50, "top_k": 50}).json()["results"]


@WIDTHS
def test_a_question_gives_both_lists_and_what_moved(size, browser, server, answer):
    with tab(browser, server.url, size=size) as one:
        one.ask(QUESTION)
        first = sorted(answer, key=lambda found: found["found_at"])[:ROWS]
        assert len(one.rows("before")) == len(one.rows("after")) == ROWS
        assert one.page.locator("#before li").evaluate_all("rows => rows.map(row => Number(row.dataset.place))") == [
            found["found_at"] for found in first
        ]
        assert one.page.locator("#after li").evaluate_all("rows => rows.map(row => Number(row.dataset.place))") == [
            found["found_at"] for found in answer[:ROWS]
        ]
        for row, found in zip(one.page.locator("#after li").all(), answer, strict=False):
            places = found["found_at"] - found["rank"]
            shown = "=" if places == 0 else f"{'▲' if places > 0 else '▼'}{abs(places)}"
            move = row.locator(".move")
            assert move.locator("[aria-hidden]").text_content() == shown
            assert (move.locator(".fresh").count() == 1) == (found["found_at"] > ROWS)
            assert f"{found['score']:.3f}".replace(".", ",") in row.locator(".score").text_content()
        assert one.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is cut at the side"
        assert (one.refused, one.faults) == ([], [])


def test_the_lists_stand_side_by_side_on_a_desk_and_one_above_the_other_on_a_phone(browser, server):
    with tab(browser, server.url) as one:
        one.ask(QUESTION)
        before, after = (one.page.locator(name).bounding_box() for name in (".before", ".after"))
        assert before["x"] + before["width"] < after["x"]
        assert one.page.locator("#lines path").count() == ROWS
        one.page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
        one.page.wait_for_selector("#lines:empty", state="attached")
        before, after = (one.page.locator(name).bounding_box() for name in (".before", ".after"))
        assert before["y"] + before["height"] < after["y"]
        assert one.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_narrowest_screen_needs_no_scrolling_to_the_side(browser, server):
    with tab(browser, server.url, size=NARROWEST) as one:
        one.ask(QUESTION)
        one.page.click("summary >> nth=0")
        assert one.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_durations_of_the_stages_are_shown_and_fill_a_bar(browser, server):
    with tab(browser, server.url) as one:
        one.ask(QUESTION)
        assert one.page.locator("#durations dt").all_text_contents() == [
            "Première étape",
            "Reclassement",
            "Réseau et reste",
        ]
        shown = one.page.locator("#durations dd").all_text_contents()
        milliseconds = [float(re.sub(r"[^\d,]", "", text).replace(",", ".")) for text in shown]
        assert all(value >= 0 for value in milliseconds)
        assert milliseconds[1] > 0
        bars = [one.page.locator(f"#phase-{name}").bounding_box()["width"] for name in ("first", "second", "rest")]
        assert max(bars) == bars[milliseconds.index(max(milliseconds))]


def test_everything_is_reached_with_the_keyboard_alone(browser, server):
    with tab(browser, server.url) as one:
        keyboard = one.page.keyboard
        keyboard.press("/")
        assert one.page.evaluate("document.activeElement.id") == "question"
        keyboard.type(f"{QUESTION} 1/2")
        assert one.page.input_value("#question") == f"{QUESTION} 1/2", "a slash in a question is a slash"
        keyboard.press("Enter")
        one.answered()
        reached = []
        for _ in range(8 + 2 * ROWS):
            keyboard.press("Tab")
            reached.append(one.page.evaluate("document.activeElement.closest('#before, #after')?.id ?? ''"))
            outline = one.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none", "the focus is seen"
            if reached[-1] == "after":
                break
        assert [name for name in dict.fromkeys(reached) if name] == ["before", "after"]
        focused = "document.activeElement.getAttribute('aria-expanded')"
        assert one.page.evaluate(focused) == "false"
        keyboard.press("Enter")
        assert one.page.evaluate(focused) == "true"
        assert one.page.locator("#after .text").first.evaluate("text => text.scrollHeight <= text.clientHeight + 1")


def test_the_same_document_stands_out_in_both_lists(browser, server):
    with tab(browser, server.url) as one:
        one.ask(QUESTION)
        before, after = (
            one.page.locator(f"#{name} li").evaluate_all("rows => rows.map(row => row.dataset.place)")
            for name in ("before", "after")
        )
        place = next(place for place in after if place in before)  # the first may come from below what is shown
        one.page.locator(f"#after li[data-place='{place}'] h3 button").focus()
        assert one.page.locator(f".linked[data-place='{place}']").count() == 3, "both rows and the line between them"
        assert one.page.locator(".linked").count() == 3


def test_what_documents_and_questions_hold_is_shown_and_never_run(browser, server):
    with tab(browser, server.url) as one:
        one.ask(HOSTILE + QUESTION)
        row = one.page.locator("#after li", has=one.page.locator("h3", has_text="<script>"))
        assert row.locator("h3").text_content() == f"Naissance {HOSTILE}"
        assert HOSTILE in row.locator(".text").text_content()
        assert one.page.evaluate("window.hacked") is None
        assert one.page.locator("main img, main script").count() == 0
        assert (one.refused, one.faults) == ([], [])


def test_the_best_passage_of_a_long_document_is_marked_where_the_server_says(browser, serve, folder):
    scorer = SharedScorer(ModelSettings(model="embedded"))
    server = serve(scorer, ServerSettings(long_documents="max"), index=folder)
    results = server.post("/retrieve", {"query": QUESTION, "candidates": 50, "top_k": 50}).json()["results"]
    [found] = [one for one in results if one["id"] == "long"]
    best = found["best_passage"]
    assert best["windows"] > 1
    assert best["start"] > len("Règlement communal\n") + 500, "the emojis stand before it"
    with tab(browser, server.url) as one:
        one.page.click("summary >> nth=0")
        one.page.select_option("#rows", "20")
        one.ask(QUESTION)
        row = one.page.locator("#after li", has_text="Règlement communal")
        mark = row.locator("mark")
        spoken = mark.text_content()
        assert spoken == f"début du meilleur passage : {best['text']} fin du meilleur passage"
        assert row.locator(".caption").text_content() == f"Meilleur passage, parmi {best['windows']} fenêtres lues"
        assert len(row.locator(".text").text_content()) < len(found["text"])
        row.locator("h3 button").click()
        assert row.locator(".text").text_content() == (
            found["text"][len("Règlement communal\n") : best["start"]] + spoken + found["text"][best["end"] :]
        )
        assert one.page.locator("mark").count() == 1, "short documents were read at once"


@pytest.mark.parametrize(("locale", "language"), [("fr-CA", "fr"), ("en-GB", "en"), ("de-DE", "en")])
def test_the_page_speaks_the_language_of_the_browser_or_english(locale, language, browser, server):
    with tab(browser, server.url, locale=locale) as one:
        assert one.page.get_attribute("html", "lang") == language
        assert one.page.get_attribute("#language", "lang") == ({"fr", "en"} - {language}).pop()


def test_the_language_is_switched_with_all_that_is_shown(browser, server):
    with tab(browser, server.url) as one:
        one.ask(QUESTION)
        one.page.click("#language")
        assert one.page.get_attribute("html", "lang") == "en"
        assert one.page.text_content("#after-heading") == "After reranking"
        assert "read again" in one.page.text_content("#status")
        assert re.search(r"0\.\d{3}", one.page.locator("#after .score").first.text_content())
        assert one.page.locator("#after h3 button").first.get_attribute("lang") == "fr", "documents stay French"
        left = one.page.evaluate("() => document.body.innerText.match(/étape|Réglages|Chercher|rangs/g)")
        assert left is None
        one.page.click("#language")
        assert one.page.text_content("#after-heading") == "Après reclassement"


def test_both_languages_say_the_same_things_and_every_error(browser, server):
    with tab(browser, server.url) as one:
        french, english = (
            one.page.evaluate(
                """async (language) => {
                  const { speaking } = await import("/page/words.js");
                  const names = (one, at = "") => Object.entries(one).flatMap(([name, value]) =>
                    typeof value === "object" ? names(value, `${at}${name}.`) : [`${at}${name}`]);
                  return names(speaking(language));
                }""",
                language,
            )
            for language in ("fr", "en")
        )
        assert french == english
        described = {name.removeprefix("problems.") for name in french if name.startswith("problems.")}
        assert described - set(KINDS) == {"unreachable", "other"}
        assert {code for code, kind in KINDS.items() if kind.status in (401, 429, 503, 504)} <= described


def test_a_server_that_is_not_there_is_told_in_words(browser, server):
    with tab(browser, server.url) as one:
        one.page.context.route("**/retrieve", lambda route: route.abort())
        one.page.fill("#question", QUESTION)
        one.page.keyboard.press("Enter")
        one.page.wait_for_selector("#problem:not([hidden])")
        assert "Le serveur ne répond pas." in one.page.text_content("[role=alert]")
        one.page.context.unroute("**/retrieve")
        one.ask(QUESTION)
        assert one.page.locator("#problem").is_hidden()


def test_an_error_of_the_server_is_told_in_words_with_its_sentence(browser, server):
    with tab(browser, server.url, locale="en-US") as one:
        body = json.dumps({"code": "overloaded", "message": "4096 pairs are already waiting", "retry_after": 1.0})
        one.page.context.route("**/retrieve", lambda route: route.fulfill(status=429, body=body))
        one.page.fill("#question", QUESTION)
        one.page.keyboard.press("Enter")
        one.page.wait_for_selector("#problem:not([hidden])")
        assert one.page.text_content("#problem > p >> nth=0") == (
            "Too many requests are waiting. Try again in a moment."
        )
        assert "4096 pairs" in one.page.text_content("#problem")


def test_a_key_is_asked_for_where_the_server_wants_one_and_changes_no_answer(browser, folder):
    settings = ServerSettings(keys=ApiKeys(["une-clef"]))
    with running(SharedScorer(ModelSettings(model="embedded")), settings, index=folder) as server:
        context = browser.new_context(locale="fr-FR")
        page = context.new_page()
        asked = []
        page.on("request", lambda request: request.url.endswith("/retrieve") and asked.append(request.post_data_json))
        page.goto(f"{server.url}/")
        page.wait_for_selector("#key:visible")
        assert "clef d’accès" in page.text_content("[role=alert]")
        page.fill("#key", "une-clef")
        page.fill("#question", QUESTION)
        page.keyboard.press("Enter")
        page.wait_for_selector("#after li")
        page.wait_for_selector("#facts:has-text('14 documents')")
        page.wait_for_selector("#status:has-text('14 passages')")
        assert page.locator("#problem").is_hidden()
        assert [body["first_stage_weight"] for body in asked] == [0.5], "as the embedded model needs it"
        context.close()


def test_a_question_in_the_address_is_asked_and_an_asked_one_is_put_there(browser, server):
    with tab(browser, server.url) as one:
        one.ask(QUESTION)
        address = one.page.url
        assert "#q=Comment" in address, "behind the #, where no server and no log sees it"
        one.page.goto("about:blank")
        one.page.goto(address)
        one.answered()
        assert one.page.input_value("#question") == QUESTION


@WIDTHS
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_contrast(size, scheme, browser, server):
    with tab(browser, server.url, size=size, scheme=scheme) as one:
        one.page.click("summary >> nth=0")
        one.ask(QUESTION)
        one.page.locator("#after h3 button").first.click()
        found = one.page.evaluate(CONTRAST)
        assert found["low"] == []
        assert found["seen"] > 50


@WIDTHS
def test_everything_to_press_has_a_name_and_a_size(size, browser, server):
    with tab(browser, server.url, size=size) as one:
        one.page.click("summary >> nth=0")
        one.ask(QUESTION)
        found = one.page.evaluate(NAMES)
        assert len(found) > 20
        for element, name, height in found:
            assert name, element
            assert height >= 24, element


def test_the_page_has_landmarks_headings_in_order_and_live_regions(browser, server):
    with tab(browser, server.url) as one:
        one.ask(QUESTION)
        for selector in ("header", "main", "form[role=search]", "[role=status][aria-live=polite]", "[role=alert]"):
            assert one.page.locator(selector).count() == 1, selector
        levels = one.page.evaluate("[...document.querySelectorAll('h1, h2, h3')].map((one) => Number(one.tagName[1]))")
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after - before <= 1 for before, after in pairwise(levels))
        for section in one.page.locator("section").all():
            heading = section.get_attribute("aria-labelledby")
            assert one.page.text_content(f"#{heading}")
        spoken = one.page.locator("#after li").first.locator(".move").text_content()
        assert re.search(r"monte de \d+ place|descend de \d+ place|garde sa place", spoken)
        ids = one.page.evaluate("[...document.querySelectorAll('[id]')].map((one) => one.id)")
        assert len(ids) == len(set(ids))
