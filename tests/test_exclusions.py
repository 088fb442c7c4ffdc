"""Classes of which a stage excludes many images are named, with the reasons and what to do."""

import pytest

from classifold.data import exclusions
from classifold.data.exclusions import Exclusion, filter_warnings, ingest_warnings


@pytest.mark.parametrize(
    ("n_excluded", "large"),
    [(0, False), (5, False), (6, True), (100, True)],
    ids=["none", "5 %", "6 %", "all"],
)
def test_more_than_five_percent_of_a_class_is_a_large_exclusion(n_excluded, large):
    kept, excluded = {"cat": 100 - n_excluded, "dog": 100}, {"size": {"cat": n_excluded}}
    found = exclusions.large_exclusions(kept, excluded)
    assert found == ([Exclusion("cat", 100, {"size": n_excluded})] if large else [])


def test_exclusions_for_several_reasons_add_up():
    excluded = {"size": {"cat": 3}, "duplicate": {"cat": 3, "dog": 5}}
    (found,) = exclusions.large_exclusions({"cat": 94, "dog": 95}, excluded)
    assert found == Exclusion("cat", 100, {"size": 3, "duplicate": 3})


def filter_metrics(kept, **excluded):
    """Write the part of metrics/filter.json that is read: kept and excluded images per class."""
    reasons = ("size", "duplicate", "conflicting_labels", "limit")
    none = dict.fromkeys(kept, 0)
    per_reason = {reason: none | excluded.get(reason, {}) for reason in reasons}
    n_kept = sum(kept.values())
    n_excluded = sum(sum(of.values()) for of in per_reason.values())
    return {
        "n_images": n_kept + n_excluded,
        "n_kept": n_kept,
        "n_excluded": n_excluded,
        "kept_per_class": kept,
        "excluded": {reason: sum(of.values()) for reason, of in per_reason.items()},
        "excluded_per_reason_and_class": per_reason,
    }


def test_the_log_line_of_the_filter_counts_images_by_reason():
    metrics = filter_metrics({"cat": 20})
    assert exclusions.describe_filter(metrics) == "20 of 20 images kept, 0 excluded"
    metrics = filter_metrics({"cat": 20}, conflicting_labels={"cat": 2}, size={"cat": 1})
    expected = "20 of 23 images kept, 3 excluded (1 size, 2 conflicting labels)"
    assert exclusions.describe_filter(metrics) == expected


def test_the_filter_warns_of_sizes_duplicates_and_conflicts():
    metrics = filter_metrics(
        {"cat": 20, "dog": 100, "emu": 90},
        size={"cat": 75},
        duplicate={"cat": 5, "dog": 1},
        conflicting_labels={"emu": 10},
    )
    assert filter_warnings(metrics) == [
        "filter excluded more than 5 %",
        "30.2 % of all images: 91 of 301 (75 size, 6 duplicate, 10 conflicting labels)",
        "80.0 % of class 'cat': 80 of 100 (75 size, 5 duplicate)",
        "10.0 % of class 'emu': 10 of 100 (10 conflicting labels)",
        "data/filtered/excluded.csv lists the images. filter.size.rule: none keeps images of every "
        "size. filter.duplicates: group in place of drop keeps duplicates, in one split. Correct "
        "the labels of equal images.",
    ]


def test_images_beyond_the_limit_are_no_warning():
    assert filter_warnings(filter_metrics({"cat": 10, "dog": 10}, limit={"cat": 990})) == []
    with_size = filter_metrics({"cat": 10, "dog": 10}, limit={"cat": 980}, size={"cat": 10})
    assert filter_warnings(with_size) == []  # one percent of the class


def test_of_many_classes_the_worst_are_named():
    names = [f"class{number:02}" for number in range(12)]
    kept = {name: 90 - number for number, name in enumerate(names)}
    size = {name: 10 + number for number, name in enumerate(names)}
    lines = filter_warnings(filter_metrics(kept, size=size))[2:]
    worst = [f"{10 + number}.0 % of class 'class{number:02}'" for number in range(11, 6, -1)]
    assert [line.split(":")[0] for line in lines[:5]] == worst
    assert lines[5] == "and more than that of 7 other classes"


def ingest_metrics(n_cats, *, unreadable=0, unreadable_cats=0, absent=0):
    return {
        "n_images": n_cats + 90,
        "n_unreadable": unreadable,
        "n_labels_without_image": absent,
        "images_per_class": {"cat": n_cats, "dog": 90},
        "unreadable_per_class": {"cat": unreadable_cats, "dog": 0},
    }


def test_ingest_warns_of_labels_without_an_image():
    assert ingest_warnings(ingest_metrics(5, absent=5)) == []
    assert ingest_warnings(ingest_metrics(5, absent=6)) == [
        "6 of 101 labels have no image",
        "data/ingested/labels_without_image.csv lists them. Add the images, or remove the labels.",
    ]


def test_ingest_warns_of_a_class_and_of_files_of_no_class():
    assert ingest_warnings(ingest_metrics(3, unreadable=7, unreadable_cats=1)) == [
        "ingest excluded more than 5 %",
        "7.0 % of all images: 7 of 100 (7 unreadable)",
        "25.0 % of class 'cat': 1 of 4 (1 unreadable)",
        "data/ingested/unreadable.csv lists the images. Repair or convert these files.",
    ]
