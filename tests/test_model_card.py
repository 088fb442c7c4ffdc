"""The card tells what the page tells, and text from data stays text."""

import re

import pytest
from markdown_it import MarkdownIt

from classifold.reporting.measures import SPACE
from classifold.reporting.model_card import plain, write_model_card
from drawn_run import HOSTILE, PROVENANCE, TASKS, Run


def card(run):
    path = run.root / "MODEL_CARD.md"
    write_model_card(path, run.facts(), PROVENANCE)
    return path.read_text(encoding="utf-8").replace(SPACE, " ")


@pytest.mark.parametrize(
    ("task", "score"), [("single", "| stack | 71.2 % |"), ("multi", "| stack | 0.712 |")]
)
def test_the_card_tells_scores_with_intervals_beside_the_baseline(tmp_path, task, score):
    told = card(Run(tmp_path, task=task))
    assert score in told and "| majority baseline |" in told
    assert "4 test images, which nothing was fitted on; 95 % intervals" in told
    assert "git checkout abc1234" in told
    assert ("A label is answered where its probability reaches" in told) == (task == "multi")


@pytest.mark.parametrize("task", TASKS)
def test_without_test_images_the_card_says_that_scores_are_optimistic(tmp_path, task):
    told = card(Run(tmp_path, n_test=0, task=task))
    assert "There are no test images." in told and "optimistic" in told
    assert "| majority baseline |" not in told


@pytest.mark.parametrize("task", TASKS)
def test_names_from_data_make_no_markup(tmp_path, task):
    classes = (*HOSTILE, "a|b", "[x](http://y)", "two\nlines", "![i](j)", "`code`", "*bold*")
    html = MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(
        card(Run(tmp_path, classes=classes, kept_only=False, task=task))
    )
    assert re.findall(r"<(?:script|img|a|em)\b[^>]*>", html) == ['<a href="index.html">']
    assert "<script" not in html and "alert(1)" in html
    assert "a|b" in html and "[x](http://y)" in html and "two lines" in html


def test_a_short_form_is_stamped_on_top(tmp_path):
    run = Run(tmp_path)
    run.params["limit"] = {"images_per_class": 20, "epochs": None}
    assert card(run).splitlines()[2].startswith("**Short form: about 20 images a class at most")


def test_plain_text_by_hand():
    assert plain("a_b|c\n<d> & *e*") == r"a\_b\|c &lt;d&gt; &amp; \*e\*"
    assert plain("cherry tomato 7.5 %") == "cherry tomato 7.5 %"
