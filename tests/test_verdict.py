"""The result of a run in a few lines."""

from pathlib import Path

import pytest

from classifold.project.verdict import describe_verdict
from classifold.reporting.formats import SPACE
from synthetic_run import TASKS, Run


def verdict(run):
    lines = list(describe_verdict(run.facts(), Path("fruit")))
    return [line.replace(SPACE, " ") for line in lines]


@pytest.mark.promise("interval-and-baseline", "fit")
def test_accuracy_by_hand(tmp_path):
    score, worst, excluded, *_, report = verdict(Run(tmp_path, kept_only=False))
    assert score == (
        "accuracy 71.2 % (95 % interval: 61.2 to 81.2 %) on 4 test images, by the stack of 2 "
        "models; the most frequent class, “apple”, has 71.2 %"
    )
    # Three of four predictions are right; Wilson's interval of 3 of 4.
    assert (
        worst
        == "worst class: “apple”, recall 75.0 % (95 % interval: 30.1 to 95.4 %) of 4 test images"
    )
    assert excluded == (
        f"excluded: 1 size, 1 duplicate, 25 unreadable ({tmp_path}/filtered/excluded.csv, "
        f"{tmp_path}/ingested/unreadable.csv)"
    )
    assert report == "report: fruit/reports/index.html"


@pytest.mark.promise("interval-and-baseline")
def test_micro_f1_and_the_label_with_the_lowest_f1(tmp_path):
    score, worst, excluded, *_ = verdict(Run(tmp_path, task="multi"))
    assert score.startswith("micro F1 0.712 (95 % interval: 0.612 to 0.812) on 4 test images")
    assert "the best constant prediction, “apple”, “pear”, has" in score
    assert worst.startswith("worst class: “") and ", F1 0." in worst
    assert excluded == "excluded: none of 10 images"


@pytest.mark.parametrize("task", TASKS)
def test_without_test_images_the_score_is_said_to_be_biased(tmp_path, task):
    score, worst, *_ = verdict(Run(tmp_path, task=task, n_test=0))
    assert "validation images" in score and "optimistically biased" in score
    assert worst == "worst class: not measured without test images"
