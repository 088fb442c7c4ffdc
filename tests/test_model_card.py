"""The model card: scores, warnings, and escaped text from data."""

import re

import pytest
from markdown_it import MarkdownIt

from classifold.reporting.formats import SPACE
from classifold.reporting.markdown import plain
from classifold.reporting.model_card import write_model_card
from synthetic_run import HOSTILE, PROVENANCE, TASKS, Run


def card(run):
    path = run.root / "MODEL_CARD.md"
    write_model_card(path, run.facts(), PROVENANCE)
    return path.read_text(encoding="utf-8").replace(SPACE, " ")


@pytest.mark.parametrize(
    ("task", "score"), [("single", "| stack | 71.2 % |"), ("multi", "| stack | 0.712 |")]
)
@pytest.mark.promise("interval-and-baseline")
def test_the_card_has_scores_with_intervals_and_the_baseline(tmp_path, task, score):
    text = card(Run(tmp_path, task=task))
    assert score in text and "| majority baseline |" in text
    assert "4 test images that were not used for fitting, with 95 % intervals" in text
    assert "git checkout abc1234" in text
    assert "Under 2 of the 15 common corruptions: " in text
    assert ("predicts each class whose probability is above" in text) == (task == "multi")


@pytest.mark.parametrize("task", TASKS)
def test_without_test_images_the_card_warns_that_scores_are_optimistic(tmp_path, task):
    text = card(Run(tmp_path, n_test=0, task=task))
    assert "There are no test images." in text and "optimistic" in text
    assert "| majority baseline |" not in text


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.promise("escaped-card")
def test_names_from_data_are_not_markup(tmp_path, task):
    classes = (*HOSTILE, "a|b", "[x](http://y)", "two\nlines", "![i](j)", "`code`", "*bold*")
    html = MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(
        card(Run(tmp_path, classes=classes, kept_only=False, task=task))
    )
    assert re.findall(r"<(?:script|img|a|em)\b[^>]*>", html) == ['<a href="index.html">']
    assert "<script" not in html and "alert(1)" in html
    assert "a|b" in html and "[x](http://y)" in html and "two lines" in html


def test_a_short_form_is_announced_at_the_top(tmp_path):
    run = Run(tmp_path)
    run.params["limit"] = {"images_per_class": 20, "epochs": None}
    assert card(run).splitlines()[2].startswith("**Short form: about 20 images per class at most")


def test_plain_text_by_hand():
    assert plain("a_b|c\n<d> & *e*") == r"a\_b\|c &lt;d&gt; &amp; \*e\*"
    assert plain("cherry tomato 7.5 %") == "cherry tomato 7.5 %"
