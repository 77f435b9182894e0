"""The worked example driven in a real browser, as a teacher would."""

import pytest

from cellgate.report.page import show_signed
from cellgate.report.walkthrough_page import walkthrough_page
from cellgate.trace.walkthrough import Pass, Walkthrough, visible, walk

# The codes that WebDriver has for keys without a letter.
LEFT, UP, RIGHT, DOWN = "\ue012", "\ue013", "\ue014", "\ue015"


@pytest.fixture(scope="module")
def example() -> Walkthrough:
    return walk(hidden_size=12, input_size=5)


@pytest.fixture(scope="module")
def page(example: Walkthrough) -> str:
    return walkthrough_page(example.as_dict(), [visible(character) for character in example.characters])


def shown(browser, chapter: str) -> dict[str, str]:
    """The values in a chapter by name; the same name shows the same value everywhere."""
    pairs = browser.run(
        "return [...document.querySelectorAll(`#${arguments[0]} [data-v]`)].map((e) => [e.dataset.v, e.textContent])",
        chapter,
    )
    values: dict[str, str] = {}
    for name, text in pairs:
        assert values.setdefault(name, text) == text, name
    values.pop("reads")
    return values


def expected(one: Pass, step: int, unit: int) -> dict[str, str]:
    names = ("i", "f", "g", "o", "c", "h", "c_prev", "h_prev", "kept", "added", "tanh_c")
    values = {name: float(getattr(one, name)[step, unit]) for name in names}
    for gate, terms in one.terms.items():
        values |= {f"{gate}.{n}": float(getattr(terms, n)[step, unit]) for n in ("from_input", "from_state", "total")}
        values |= {f"{gate}.{n}": float(getattr(terms, n)[unit]) for n in ("bias_ih", "bias_hh")}
    return {name: show_signed(value) for name, value in values.items()}


def same(left: dict[str, str], right: dict[str, str]) -> None:
    """Equal but for the last digit of a tie, which two languages round to different sides."""
    missing = {name: text for name, text in right.items() if name not in left and name not in ("h_prev",)}
    assert not missing
    for name, text in left.items():
        here, there = (float(value.replace("\N{MINUS SIGN}", "-")) for value in (text, right[name]))
        assert here == pytest.approx(there, abs=1.01e-5), name


def test_stepping_shows_the_numbers_of_every_step(browser, page, example, tmp_path):
    browser.open(page, tmp_path)
    (one,) = example.sections[0].passes
    for step, character in enumerate(example.characters):
        same(shown(browser, "one-layer"), expected(one, step, 0))
        assert f"t{step + 1} {character}" in browser.text("#one-layer [data-where]")
        assert browser.text("#one-layer .box.now") == character
        browser.find('#one-layer [data-do="next"]').click()
    # After the last step it begins again.
    same(shown(browser, "one-layer"), expected(one, 0, 0))


@pytest.mark.parametrize(
    ("chapter", "order"),
    [
        ("two-layers", [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2)]),
        ("both-directions", [(0, 0), (0, 1), (0, 2), (1, 2), (1, 1), (1, 0)]),
    ],
)
def test_arrow_keys_walk_through_layers_and_directions(browser, page, example, tmp_path, chapter, order):
    browser.open(page, tmp_path)
    browser.find(f"#tab-{chapter}").click()
    browser.find(f"#{chapter} h2").click()
    passes = example.section(chapter).passes
    for number, (k, step) in enumerate(order):
        if number:
            browser.press(RIGHT)
        same(shown(browser, chapter), expected(passes[k], step, 0))
    browser.press(LEFT)
    k, step = order[-2]
    same(shown(browser, chapter), expected(passes[k], step, 0))


def test_units_by_keys_number_and_click(browser, page, example, tmp_path):
    browser.open(page, tmp_path)
    (one,) = example.sections[0].passes
    browser.press(UP, UP, UP, DOWN)
    same(shown(browser, "one-layer"), expected(one, 0, 2))
    field = browser.find('#one-layer [data-do="unit"]')
    field.clear()
    field.send_keys("99\n")
    same(shown(browser, "one-layer"), expected(one, 0, 11))
    # The strip has a cell a unit: the middle of the fifth of twelve is unit 4.
    browser.drag('[data-section="one-layer"] canvas[data-strip="f"]', 4.5 / 12, 4.5 / 12)
    assert browser.text("#one-layer [data-unit]") == "4"
    same(shown(browser, "one-layer"), expected(one, 0, 4))


def test_hover_tells_a_units_value(browser, page, example, tmp_path):
    browser.open(page, tmp_path)
    browser.hover('[data-section="one-layer"] canvas[data-strip="c"]', 7.5 / 12)
    value = show_signed(float(example.sections[0].passes[0].c[0, 7]))
    assert browser.find("#tip").is_displayed()
    assert browser.text("#tip") == f"unit 7: c = {value}"
    browser.hover("h1")
    assert not browser.find("#tip").is_displayed()


def test_a_click_on_a_box_goes_there(browser, page, example, tmp_path):
    browser.open(page, tmp_path)
    browser.find("#tab-both-directions").click()
    browser.find('#both-directions .box[data-pass="1"][data-step="1"]').click()
    same(shown(browser, "both-directions"), expected(example.section("both-directions").passes[1], 1, 0))


def test_tabs_show_one_chapter_and_answer_to_arrows(browser, page, tmp_path):
    browser.open(page, tmp_path)
    chapters = ["one-layer", "two-layers", "both-directions", "prediction", "parameters"]
    browser.find("#tab-one-layer").click()
    for chapter in [*chapters[1:], chapters[0]]:
        browser.press(RIGHT)
        assert [c for c in chapters if browser.find(f"#{c}").is_displayed()] == [chapter]
        assert browser.find(f"#tab-{chapter}").get_attribute("aria-selected") == "true"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_panels_are_drawn(browser, page, tmp_path, theme, width):
    browser.open(page, tmp_path, theme=theme, width=width)
    for selector in ("#one-layer .unrolled", "#one-layer .cell", '[data-section="one-layer"] canvas[data-strip="f"]'):
        picture = browser.pixels(selector)
        assert picture.std(axis=(0, 1)).max() > 5, selector
    paper = browser.pixels("h1")[0, 0]
    assert (paper.mean() > 128) == (theme == "light")
    # Nothing but what scrolls by itself is wider than the window.
    assert browser.run("return document.documentElement.scrollWidth") <= width


def test_the_theme_button_repaints(browser, page, tmp_path):
    browser.open(page, tmp_path)
    strip = '[data-section="one-layer"] canvas[data-strip="f"]'
    before = browser.pixels(strip).mean(), browser.pixels("h1")[0, 0].mean()
    browser.find("#theme").click()
    after = browser.pixels(strip).mean(), browser.pixels("h1")[0, 0].mean()
    assert after[1] < before[1] - 100
    assert after[0] != before[0]


def test_without_scripts_the_findings_are_there(browser, page, tmp_path):
    browser.open(page, tmp_path, scripts=False)
    assert all(browser.find(f"#{chapter}").is_displayed() for chapter in ("one-layer", "both-directions", "prediction"))
    assert not browser.find("#theme").is_displayed()
    assert browser.find("#one-layer .equations").is_displayed()
    browser.open("<title>x</title>", tmp_path)


def test_markup_in_the_text_stays_text(browser, tmp_path):
    text = "<script>"
    example = walk(text, 2, 2)
    browser.open(walkthrough_page(example.as_dict(), list(text)), tmp_path)
    assert browser.text("#one-layer .box.now") == "<"
    assert browser.run("return document.querySelectorAll('main script').length") == 0
