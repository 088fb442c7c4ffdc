"""The report: it has every number, needs no network, and escapes text from data."""

import base64
import io
import itertools
import json
import re
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from classifold.data.json_file import read_json, write_json
from classifold.models.prediction_sets import fit_set_threshold
from classifold.reporting.augmentations import write_gallery
from classifold.reporting.formats import MAIN_METRICS, NOT_AVAILABLE, SPACE, percent
from classifold.reporting.pictures import to_uri
from classifold.reporting.provenance import read_provenance
from classifold.reporting.sections.class_axis import MAX_LABELED_CLASSES
from classifold.reporting.sections.confusion import (
    confusion_matrix,
    confusion_orders,
    confusions_table,
)
from classifold.reporting.sections.data import (
    conversions_table,
    describe_class_balance,
    image_sizes,
)
from classifold.reporting.sections.label_counts import MAX_CLASS_CURVES, precision_recall
from classifold.reporting.sections.models import models_table, scores_on_test
from classifold.reporting.sections.robustness import attacks_table, robustness_table
from classifold.reporting.sections.slices import describe_slices
from classifold.reporting.sections.stack import describe_gain, weights_table
from classifold.reporting.sections.summary import (
    describe_difference,
    describe_limit,
    describe_mcnemar_test,
)
from classifold.reporting.sections.test import describe_temperature, lowest_f1
from classifold.reporting.sections.uncertainty import describe_calibration, risk_coverage
from synthetic_run import DUPLICATES, HOSTILE, MODELS, PLAIN, TASKS, Run

SECTIONS = [
    *("summary", "data", "split", "augmentation", "models"),
    *("stack", "test", "robustness", "analysis", "reproduce"),
]


class Reader(HTMLParser):
    """The elements of a page, its visible text, and the content of its scripts."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.scripts, self.inside, self.texts = [], [], None, []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.inside = tag if tag in ("script", "style") else None
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        if self.inside == "script":
            self.scripts[-1] += data
        elif self.inside is None:
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


@pytest.fixture(scope="module")
def page_of(tmp_path_factory):
    """The page of a run with these settings, which is written once."""
    written = {}

    def page(**settings):
        settings = {"task": "single", "kept_only": True, "n_test": 4} | settings
        key = repr(sorted(settings.items()))
        if key not in written:
            written[key] = Run(tmp_path_factory.mktemp("run"), **settings).page()
        return written[key]

    return page


def text_of(page):
    return Reader(page).text.replace(SPACE, " ")


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("n_test", [4, 0])
def test_the_page_has_every_section_in_its_order(page_of, task, n_test):
    page = page_of(task=task, n_test=n_test)
    assert re.findall(r'<section id="(\w+)"', page) == SECTIONS
    assert re.findall(r'href="#(\w+)"', page) == SECTIONS


@pytest.mark.parametrize("task", TASKS)
def test_headings_skip_no_level(page_of, task):
    page = page_of(kept_only=False, task=task)
    levels = [int(level) for level in re.findall(r"<h([1-6])[ >]", page)]
    assert levels[0] == 1
    steps = itertools.pairwise(levels)
    assert all(after <= before + 1 for before, after in steps)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.promise("pages-offline")
def test_nothing_is_loaded_from_a_network(page_of, task):
    page = page_of(kept_only=False, classes=HOSTILE, task=task)
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style and "@import" not in style
    for _, attributes in Reader(page).elements:
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            assert attributes.get(name, "#").startswith(("data:", "#"))
    # The browser enforces the same for scripts.
    assert "default-src 'none'; img-src data: blob:;" in page


@pytest.mark.parametrize("task", TASKS)
def test_every_image_has_an_alternative_text_and_a_size(page_of, task):
    page = page_of(kept_only=False, task=task)
    pictures = [attributes for tag, attributes in Reader(page).elements if tag == "img"]
    assert len(pictures) > 10
    for picture in pictures:
        assert "width" in picture and "height" in picture
        assert picture["alt"] or "src" not in picture


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.promise("escaped-pages")
def test_hostile_names_are_shown_as_text(page_of, task):
    page = page_of(classes=HOSTILE, kept_only=False, task=task)
    reader = Reader(page)
    assert not [tag for tag, attributes in reader.elements if "onerror" in attributes]
    assert "<script>alert" not in page
    # Points, the script of the page, Plotly, and one per chart: no name adds another.
    charts_in_page = [a for tag, a in reader.elements if tag == "script" and "data-chart" in a]
    assert len(reader.scripts) == len(charts_in_page) + 3
    for name in HOSTILE:
        assert name in reader.text
    assert "cut <b>off</b>" in reader.text
    assert "a: 1 # <b>why</b>" in reader.text


@pytest.mark.promise("escaped-pages")
def test_names_in_charts_reach_plotly_escaped(tmp_path):
    facts = Run(tmp_path, classes=HOSTILE).facts()
    chart = confusion_matrix(facts).to_json()
    assert "<" not in chart
    labels = json.loads(chart)["data"][0]["x"]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in labels
    # A class that looks like a date stays a category.
    assert json.loads(chart)["layout"]["xaxis"]["type"] == "category"


@pytest.mark.parametrize(("n_classes", "shown"), [(3, 0), (4, 1), (6, 2)])
def test_top_k_accuracy_is_shown_with_more_than_k_classes(tmp_path, n_classes, shown):
    page = Reader(Run(tmp_path, classes=list("abcdef")[:n_classes]).page()).text
    assert [f"top-{k} accuracy" in page for k in (3, 5)] == [shown > 0, shown > 1]


def texts_of(table):
    """The texts of a table, by the name of the row."""
    return {row[0].value: [c.text.replace(SPACE, " ") for c in row[1:]] for row in table.rows}


def test_models_have_accuracy_with_gaps_and_the_difference_to_the_stack(tmp_path):
    table = models_table(Run(tmp_path).facts())
    texts = texts_of(table)
    scores = ["99.0 %", "83.3 %", "71.2 %", "+27.8", "+12.1"]
    assert texts["one"] == [*scores, "−2.3", "0.346", "13.5 %"]
    assert texts["stack"] == ["–", "66.7 %", *scores[2:], "–", "–", "–"]
    titles = [column.title for column in table.columns]
    assert titles[-3:] == ["difference to the stack", "p-value", "untrained"]
    assert table.rows[0][6].note == "−5.7 to +0.9"
    assert table.rows[-1][0] == ("majority baseline", "majority_baseline", "always “apple”")


def test_models_with_several_labels_have_micro_f1_at_both_thresholds(tmp_path):
    table = models_table(Run(tmp_path, task="multi").facts())
    texts = texts_of(table)
    scores = ["0.990", "0.833", "0.861", "0.712", "+0.278", "+0.121"]
    assert texts["one"] == [*scores, "−0.023", "0.135"]
    assert texts["stack"] == ["–", "–", "0.667", *scores[3:], "–", "–"]
    assert [cell.note for cell in table.rows[0]][3:5] == ["at threshold 0.40", "0.612 to 0.812"]
    assert table.rows[-1][0].note == "always “apple”, “pear”"


@pytest.mark.parametrize(("task", "gap", "none"), [("single", "+15.7", "0.0"),
                                                   ("multi", "+0.157", "0.000")])  # fmt: skip
def test_without_test_images_models_have_validation_scores_only(tmp_path, task, gap, none):
    table = models_table(Run(tmp_path, n_test=0, task=task).facts())
    assert "gap" in [column.title for column in table.columns]
    assert [row[-1].text for row in table.rows] == [gap, gap, "–", none]


@pytest.mark.parametrize(("task", "name"), [("single", "Wilson"), ("multi", "Agresti-Coull")])
@pytest.mark.promise("interval-and-baseline")
def test_the_chart_of_models_names_its_intervals(page_of, task, name):
    assert f"on 4 test images with 95 % intervals ({name})" in text_of(page_of(task=task))


SHARED_NUMBERS = ["0.654", "0.543", "0.043", "0.088", "4 test images", "2 duplicates"]
# Settings of a run, what its page states, and what it does not.
STATED = {
    "nothing is wrong": (
        {"n_right": 4},
        [
            "Every image file could be read.",
            "The filter excluded no image.",
            "found no duplicates",
            "The stack made no mistake on 4 test images.",
            "no image was converted",
        ],
        ["did not search", "Warning:", "official", "without a label"],
    ),
    "no search for near duplicates": (
        {"duplicates": {"near": "off"}},
        ["did not search for near duplicates"],
        ["all of"],
    ),
    "no search for duplicates": (
        {"duplicates": dict.fromkeys(DUPLICATES, "off")},
        ["did not search for duplicates"],
        ["found no"],
    ),
    "excluded, unreadable and duplicate images": (
        {"kept_only": False},
        [
            "25 files could not be read",
            "shows 20 of them",
            "excluded 2 images, by reason: size 1, duplicate 1",
            "is 4x4",
            "duplicate of apple/2.png",
            "1 group of duplicates: 2 exact duplicates, 1 near duplicate.",
            "3 duplicates, labels differ",
            "apple/1.png apple excluded (duplicate) exact duplicate",
            "apple/2.png apple kept exact duplicate",
            "pear/4.png apple, pear kept, official test near duplicate",
        ],
        [],
    ),
    "official splits": (
        {"kept_only": False, "official": {"train": 4, "test": 3, "unlabelled": 3}},
        [
            "official splits: train (4 images), test (3 images).",
            "images without a label 3",
            "1 image of the official test split has a duplicate among the images kept",
            "The official test split was not changed",
        ],
        [],
    ),
    "one label": (
        {},
        [
            *("71.2 %", "61.2 to 81.2 %", "69.3 %", "0.512 to 0.788", *SHARED_NUMBERS),
            *("−16.7", "−40.0 to +10.0", "−33.3", "−50.0 to −12.3"),  # gains, of the mean too
            "in the mean over sets of such held-out images",  # images unlike the training images
            "Of 4 test images, 1 is (25.0 %; 95 % interval 4.6 to 69.9 %).",  # Wilson's, of 1 of 4
            "one predicts 0 of the 1 above it and 3 of the 3 others correctly.",
        ],
        [],
    ),
    "several labels": (
        {"task": "multi"},
        [
            *("0.712", "0.612 to 0.812", "0.677", "0.735", "41.2 %", "0.765", "0.099", "0.693"),
            *SHARED_NUMBERS,
            *("−0.167", "−0.500 to −0.123"),
            "any number of labels per image",
            "Best constant prediction",
            "“apple”, “pear” for every image",
            # Three images are correct; the last one is a false negative and a false positive.
            "4 test images have 4 labels",
            "The stack of 2 models predicts 3 of them, and 1 label that the images do",
            "2 mistakes in 8 pairs",
        ],
        [],
    ),
}


@pytest.mark.parametrize(("settings", "present", "absent"), STATED.values(), ids=STATED)
def test_sentences_of_the_page_follow_from_the_run(page_of, settings, present, absent):
    text = text_of(page_of(**settings))
    assert [sentence for sentence in present if sentence not in text] == []
    assert [sentence for sentence in absent if sentence in text] == []


def test_conversions_are_counted_by_kind(tmp_path):
    table = conversions_table(Run(tmp_path, kept_only=False).facts())
    assert [[cell.text for cell in row[:2]] for row in table.rows] == [
        ["8-bit RGB", "9"],
        ["grayscale", "1"],
        ["animated", "2"],
    ]


def test_large_exclusions_are_announced_before_any_score(page_of):
    page = Reader(page_of(kept_only=False))
    text = " ".join(page.texts)
    lines = [
        "Warning: ingest excluded more than 5 %",
        "71.4 % of all images: 25 of 35 (25 unreadable)",
        "Warning: filter excluded more than 5 %",
        "20.0 % of all images: 2 of 10 (1 size, 1 duplicate)",
        "40.0 % of class 'apple': 2 of 5 (1 size, 1 duplicate)",
        "data/filtered/excluded.csv lists the images. filter.size.rule: none keeps",
        "Report of an image classifier",
    ]
    places = [text.index(line) for line in lines]
    assert places == sorted(places)


def test_a_short_form_is_announced_before_any_score(tmp_path, page_of):
    run = Run(tmp_path)
    run.params["limit"] = {"images_per_class": 20, "epochs": None}
    before_scores = run.page().split('<dl class="scores">')[0]
    assert 'class="stamp"' in before_scores
    assert "Short form: about 20 images per class at most" in before_scores
    assert 'class="stamp"' not in page_of()


@pytest.mark.parametrize(
    ("images", "epochs", "expected"),
    [
        (None, None, ""),
        (20, None, "about 20 images per class at most"),
        (None, 1, "about 1 epoch per phase at most"),
        (20, 2, "about 20 images per class and 2 epochs per phase at most"),
    ],
)
def test_a_short_form_is_described(images, epochs, expected):
    described = describe_limit({"images_per_class": images, "epochs": epochs}) or ""
    assert expected in described and bool(described) == bool(expected)


def test_class_balance_is_described_before_and_after_the_filter():
    # 12 and 4 images were read, 6 and 4 kept.
    filtered = {
        "n_excluded": 6,
        "kept_per_class": {"a": 6, "b": 4},
        "excluded_per_class": {"a": 6, "b": 0},
    }
    assert "3.00 times as many images as the smallest before" in describe_class_balance(filtered)
    assert "1.50 times as many after" in describe_class_balance(filtered)


def test_a_size_with_one_image_is_visible_beside_one_with_thousands():
    rows = [("9x9", "kept", 5000), ("9x9", "duplicate", 2), ("1x9", "size", 1)]
    columns = ("size", "outcome", "n_images")
    figure = image_sizes([dict(zip(columns, row, strict=True)) for row in rows]).figure
    points = {(t.name, y, x) for t in figure.data for x, y in zip(t.x, t.y, strict=True)}
    assert points == {("kept", "9x9", 5000), ("duplicate", "9x9", 2), ("size", "1x9", 1)}
    low, high = figure.layout.xaxis.range
    assert figure.layout.xaxis.type == "log" and low < 0 and high > np.log10(5000)


def test_of_a_thousand_sizes_the_rarest_share_one_row():
    rows = [{"size": f"{i}x1", "outcome": "kept", "n_images": 1 + (i < 5)} for i in range(1000)]
    chart = image_sizes(rows)
    counts = dict(zip(chart.figure.data[0].y, chart.figure.data[0].x, strict=True))
    assert sum(counts.values()) == 1005
    assert counts["970 others"] == 970 and counts["0x1"] == 2
    assert chart.height < 1000


@pytest.mark.parametrize(("task", "score"), [("single", "66.7 %"), ("multi", "0.667")])
def test_without_test_images_the_page_has_validation_scores_and_a_warning(page_of, task, score):
    page = page_of(n_test=0, task=task)
    text = text_of(page)
    assert "There are no test images" in text
    assert score in text and "6 validation images" in text and "optimistic" in text
    assert 'data-chart="confusion"' not in page and 'data-chart="precision-recall"' not in page
    assert "Nothing to show: there are no test images." in text


def test_several_labels_have_curves_and_counts_and_no_confusion_matrix(page_of):
    charts_in_page = re.findall(r'data-chart="([\w-]+)"', page_of(task="multi"))
    assert {"precision-recall", "class-counts", "curves-micro_f1"} <= set(charts_in_page)
    assert "confusion" not in charts_in_page


def test_false_negatives_and_false_positives_are_shown_separately(page_of):
    # The last of four images, apple/3.png, is predicted as a pear.
    mistakes = r"False {} {} \(probability {}.0 %\) actual: apple predicted: pear"
    negatives, positives = (
        mistakes.format(*of) for of in (("negatives", "apple", 30), ("positives", "pear", 70))
    )
    assert re.search(f"{negatives}.*{positives}", text_of(page_of(task="multi")))


def test_curves_of_classes_are_hidden_and_that_of_all_pairs_is_shown(tmp_path):
    run = Run(tmp_path, task="multi", n_test=8, n_right=6)
    figure = precision_recall(run.facts()).figure
    *classes, micro, point = figure.data
    assert {curve.name for curve in classes} == set(PLAIN)
    assert all(curve.visible == "legendonly" for curve in classes)
    assert micro.visible is None and "micro" in micro.name
    # 6 of 8 labels are predicted; 6 of 8 predictions are correct.
    assert (point.x[0], point.y[0]) == (75, 75)  # percent


def test_of_200_classes_only_some_have_a_curve(tmp_path):
    classes = [f"class {i:03}" for i in range(200)]
    run = Run(tmp_path, classes=classes, each=1, n_test=200, n_right=150, task="multi")
    assert len(precision_recall(run.facts()).figure.data) == MAX_CLASS_CURVES + 2
    page = run.page()
    assert len(page) < 8e6
    assert f"of 200 classes, the {MAX_CLASS_CURVES} with the lowest" in page


def test_groups_of_test_images_are_shown_where_there_are_at_least_two(tmp_path, page_of):
    page = page_of()
    assert 'data-chart="slices"' in page
    assert describe_slices(["brightness"]) in text_of(page)
    assert 'data-chart="slices"' not in Run(tmp_path / "one", n_test=1).page()


def test_weights_of_members_are_sorted_from_the_largest():
    table = weights_table({"weights": {"one": 0.25, "two": 0.75}})
    assert [[cell.value for cell in row] for row in table.rows] == [["two", 0.75], ["one", 0.25]]
    assert weights_table({"weights": {"one": 1.0}}).rows == weights_table({}).rows == []


def test_classes_without_a_mistake_are_not_among_the_worst():
    rows = [
        {"class": name, "f1": f1, "support": support}
        for name, f1, support in (("a", "1.0", "9"), ("b", "0.0", "2"), ("c", "0.0", "5"))
    ]
    assert [row["class"] for row in lowest_f1(rows, n_classes=5)] == ["c", "b"]
    assert [row["class"] for row in lowest_f1(rows, n_classes=1)] == ["c"]


def test_200_classes_stay_within_a_few_charts_and_labels(tmp_path):
    classes = [f"class {i:03} with quite a long name" for i in range(200)]
    run = Run(tmp_path, classes=classes, each=1, n_test=200, n_right=150)
    assert len(run.page()) < 8e6
    confusion = confusion_matrix(run.facts())
    assert len(confusion.figure.layout.xaxis.ticktext) <= MAX_LABELED_CLASSES
    assert confusion.height <= 950


def test_orders_of_a_confusion_matrix_by_hand():
    # 0 and 3 are confused with one another, 2 has no test images, 1 is always correct.
    counts = np.array([[5, 0, 0, 5], [0, 4, 0, 0], [0, 0, 0, 0], [2, 0, 1, 7]])
    orders = confusion_orders(counts, support=counts.sum(axis=1))
    assert orders["as listed"] == [0, 1, 2, 3]
    assert orders["lowest recall first"] == [0, 3, 1, 2]
    assert orders["most predicted first"] == [3, 0, 1, 2]
    together = orders["confused classes together"]
    assert sorted(together) == [0, 1, 2, 3]
    assert abs(together.index(0) - together.index(3)) == 1
    of_two = confusion_orders(np.eye(2, dtype=int), support=np.ones(2, int))
    assert list(of_two) == list(orders)[:3]


def test_the_confusion_matrix_counts_every_test_image(tmp_path):
    run = Run(tmp_path, n_test=10, n_right=7)
    figure = confusion_matrix(run.facts()).figure
    right, wrong = (np.nan_to_num(trace.z).astype(bool) for trace in figure.data)
    counts = np.array(figure.data[0].customdata)
    assert counts.sum() == 10
    assert (counts * right).sum() == 7
    assert (counts * wrong).sum() == 3


@pytest.mark.parametrize(
    ("fraction", "n_images", "expected"),
    [
        (0.5, 10, "50.0 %"),
        (0.12345, 20_000, "12.35 %"),  # two decimals for many images
        (0.9999, 5_000, "99.99 %"),  # never rounded up to all
        (0.0001, 5_000, "0.01 %"),  # never rounded down to none
        (1.0, 10, "100.0 %"),
        (None, 0, "–"),
    ],
)
def test_percentages_by_hand(fraction, n_images, expected):
    assert percent(fraction, n_images=n_images).replace(SPACE, " ") == expected


@pytest.mark.parametrize(
    ("ends", "n_members", "expected"),
    [
        ([0.01, 0.03], 2, "above zero"),
        ([-0.03, -0.01], 2, "below zero"),
        ([-0.01, 0.0], 2, "not statistically significant"),
        ([0.0, 0.0], 2, "the same score as one"),
        ([0.0, 0.0], 1, "nothing to combine"),
    ],
)
def test_a_gain_is_only_claimed_when_its_interval_excludes_zero(ends, n_members, expected):
    stack = {"gain": sum(ends) / 2, "gain_ci95": ends, "best_member": "one"}
    assert expected in describe_gain(stack | {"n_members": n_members})


@pytest.mark.parametrize(
    ("only_stack", "p_value", "expected"),
    [
        (0, 1.0, "exactly the same images"),
        (5, 0.0625, "not statistically significant (exact McNemar test, p = 0.062)"),
        (10, 0.001953, "is statistically significant (exact McNemar test, p = 0.002)"),
        (30, 0.0, "is statistically significant (exact McNemar test, p < 0.001)"),
    ],
)
def test_the_stack_and_a_model_are_compared_on_the_images_they_differ_in(
    only_stack, p_value, expected
):
    right, wrong = {"label": "a", "predicted": "a"}, {"label": "a", "predicted": "b"}
    stack = [right] * (7 + only_stack)
    other = [right] * 7 + [wrong] * only_stack
    assert expected in describe_mcnemar_test(stack, other, name="one", p_value=p_value)


DIFFERENCE = "by {} (95 % interval {}). The difference is"


@pytest.mark.parametrize(
    ("difference", "ends", "expected"),
    [
        (-0.02, [-0.03, -0.01], DIFFERENCE.format("+0.020", "+0.010 to +0.030") + " statistically"),
        (0.01, [-0.01, 0.03], DIFFERENCE.format("−0.010", "−0.030 to +0.010") + " not"),
        (0.0, [0.0, 0.0], "the same score as one"),
    ],
)
def test_the_stack_and_a_model_with_several_labels_are_compared_by_an_interval(
    difference, ends, expected
):
    # Files have the model's score minus the stack's; the sentence has the gain of the stack.
    versus = {"difference": difference, "difference_ci95": ends}
    assert expected in describe_difference(versus, name="one", metric=MAIN_METRICS["multi"])


@pytest.mark.parametrize(
    ("difference", "task", "expected"),
    [
        (0.0123, "single", "+1.2"),
        (-0.0004, "single", "0.0"),  # no minus zero
        (-0.0123, "multi", "−0.012"),
        (-0.0001, "multi", "0.000"),
        (None, "multi", "–"),
    ],
)
def test_differences_by_hand(difference, task, expected):
    assert MAIN_METRICS[task].difference(difference) == expected


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (0.03, "raised it from 0.030"),
        (0.06, "lowered it from 0.060"),
        (0.05, "did not change"),
    ],
)
def test_the_effect_of_temperature_scaling_is_described(before, expected):
    tested = {"calibration_error": 0.05, "calibration_error_uncalibrated": before}
    assert expected in describe_temperature(tested)


def test_the_most_frequent_confusions_come_first_with_their_fraction():
    pairs = [("a", "b")] * 2 + [("a", "a")] * 6 + [("b", "a")] * 1
    rows = [{"actual": actual, "predicted": predicted} for actual, predicted in pairs]
    table = confusions_table(rows)
    assert [[cell.value for cell in row] for row in table.rows] == [
        ["a", "b", 2, 0.25],
        ["b", "a", 1, 1.0],
    ]


def test_small_images_are_enlarged_by_whole_factors_and_large_ones_shrunk():
    sizes = {}
    for size in ((8, 8), (40, 20), (300, 100)):
        uri = to_uri(Image.new("RGB", size))
        encoded = io.BytesIO(base64.b64decode(uri.split(",")[1]))
        with Image.open(encoded) as image:
            sizes[size] = image.size
    assert sizes == {(8, 8): (96, 96), (40, 20): (80, 40), (300, 100): (96, 32)}


def test_provenance_has_the_commit_and_the_files_changed_since(tmp_path):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "file").write_text("1")
    for arguments in (["init", "-q"], ["add", "file"], ["commit", "-qm", "one"]):
        subprocess.run([*git, *arguments], check=True)
    clean = read_provenance(tmp_path)
    (tmp_path / "file").write_text("2")
    assert clean.commit and clean.changed == []
    for output in ("dvc.lock", "metrics/test.json"):  # written by every run
        (tmp_path / output).parent.mkdir(exist_ok=True)
        (tmp_path / output).write_text("")
    assert read_provenance(tmp_path).changed == ["file"]


def test_provenance_is_unknown_without_git(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert read_provenance(tmp_path).commit is None


def test_the_page_shows_each_policy_and_the_models_that_use_it(page_of):
    page = page_of()
    assert "<code>turned</code>: rotate 20, shift [0.1, 0.2] – used by " + ", ".join(MODELS) in page
    assert "<code>none</code>: no augmentation</summary>" in page


def test_a_gallery_page_of_a_policy_opens_from_disk_and_escapes_names(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    policy = {"fill": "edge", "steps": [{"flip": "both"}, {"mix": {"mixup": 1.0}}]}
    names = ["a.png", "<script>b.png"]
    settings = {"policy_name": "both", "names": names, "n_epochs": 5, "seed": 1}
    write_gallery(tmp_path / "page.html", images, policy, **settings)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("<img ") == 2 * (1 + 5)
    assert "flip both, mix mixup 1.0. Borders: edge" in page
    assert "&lt;script&gt;b.png" in page
    assert "<script>" not in page
    assert "http" not in page.replace("http-equiv", "")


@pytest.mark.parametrize("task", TASKS)
def test_the_page_shows_nominal_and_empirical_coverage(tmp_path, page_of, task):
    text = text_of(page_of(task=task))
    assert "Prediction sets" in text and "calibrated on 60 validation images" in text
    # The stack and both models at two levels; a level without labeled images has no coverage.
    row = "90 % 88.8 % 83.5 to 92.3 % 1.23 77.7 %"
    for name in ("stack", *MODELS):
        assert f"{name} {row} {name} 99 % – – 2.00 0.0 %" in text
    run = Run(tmp_path, task=task)
    run.use_as_the_stack("one")
    text = text_of(run.page())
    assert f"two {row}" in text and f"one {row}" not in text
    (of_class,) = re.findall(r"apple 90 % ([\d.]+ %) ([\d.]+) to", text)
    assert float(of_class[0].split()[0]) > float(of_class[1])


@pytest.mark.parametrize("task", TASKS)
def test_the_page_shows_the_accuracy_at_each_threshold(tmp_path, page_of, task):
    page = page_of(task=task)
    text = text_of(page)
    assert "95 % 0.457 75.0 % 3 images 96.5 % 84.6 to 99.9 %" in text
    assert "99 % – not reached 0.0 % 0 images – –" in text
    assert "is 0.077 for the stack; 0.035 of it" in text
    assert ("all its labels" in text) == (task == "multi")
    chart = json.loads(re.search(r'data-chart="risk-coverage">(.*?)</script>', page)[1])
    curves = {trace["name"]: trace for trace in chart["data"]}
    assert list(curves) == ["two", "one", "stack", "thresholds"]
    assert curves["stack"]["x"] == [25, 50, 75, 100]
    assert (curves["thresholds"]["x"], curves["thresholds"]["y"]) == ([75], [96.5432])
    assert "Diamonds: the thresholds" in text
    run = Run(tmp_path, task=task)
    run.use_as_the_stack("two")
    tested = run.facts().metrics["test"]
    for entry in tested.values():
        entry.get("risk_coverage", {}).get("accuracies", {}).pop("0.95", None)
    write_json(run.folders.metrics / "test.json", tested)
    names = [trace.name for trace in risk_coverage(run.facts()).figure.data]
    assert names == ["one", "stack"]
    assert "Diamonds" not in run.page()


def test_without_test_images_or_levels_the_page_has_no_sets(tmp_path, page_of):
    assert "Prediction sets" not in text_of(page_of(n_test=0))
    run = Run(tmp_path)
    tested = run.facts().metrics["test"]
    for entry in tested.values():
        for key in ("conformal", "risk_coverage"):
            entry.pop(key, None)
    write_json(run.folders.metrics / "test.json", tested)
    text = text_of(run.page())
    assert "Prediction sets" not in text and "Abstention" not in text


def test_the_guarantee_depends_on_the_calibration_images():
    levels = {"0.9": {"threshold": 0.2}}
    conformal = {"calibrated_on": "validation", "n_calibration_images": 99, "levels": levels}
    text = " ".join(describe_calibration(conformal, task="single"))
    # Of 99 images the sets contain the labels of 90: Beta(90, 10) has these quantiles.
    assert "coverage of 83.4 to 95.0 %" in text.replace("\u00a0", " ")
    assert "the guarantee is not exact" in text
    assert "split.fractions.calibration: 0.1" in text and "stack.folds: 5" in text
    assert "At a level" not in " ".join(describe_calibration(conformal, task="multi"))
    few = {"n_calibration_images": 8, "calibrated_on": "train", "levels": {"0.9": {"threshold": 0}}}
    for task in TASKS:
        text = " ".join(describe_calibration(few, task=task)).replace("\u00a0", " ")
        assert (
            "At a level of 90 %, prediction sets have all classes: the level needs at least 9 "
            in text
        )
        assert ", got 8. Add images or set lower levels" in text and "[0.88]" in text
        assert "out-of-fold predictions for 8 training images" in text
        assert "not exact" not in text
    text = " ".join(describe_calibration(few | {"calibrated_on": "validation"}, task="single"))
    assert "Add images, set stack.folds: 5 to calibrate" in text and "calibration: 0.1" not in text
    text = " ".join(
        describe_calibration(conformal | {"calibrated_on": "calibration"}, task="multi")
    )
    assert "99 images of the calibration split" in text and "the guarantee is exact" in text


@pytest.mark.parametrize(("n_zero", "described"), [(4, False), (5, True)])
def test_a_level_that_improbable_labels_need_is_not_explained_by_few_images(n_zero, described):
    probabilities = np.full((500, 2), 0.5)
    probabilities[:n_zero] = [1e-8, 1 - 1e-8]
    labels = np.zeros(500, int)
    threshold = fit_set_threshold(probabilities, labels, level=0.99)
    assert (threshold == 0) == described
    conformal = {"calibrated_on": "train", "n_calibration_images": 500}
    conformal["levels"] = {"0.99": {"threshold": threshold}}
    sentence = " ".join(describe_calibration(conformal, task="single"))
    # Sets need 496 of 500 labels, so five improbable ones decide.
    expected = "labels of at least 5 of 500 calibration images have a probability below 0.000001"
    assert (expected in sentence) == described
    assert "needs at least" not in sentence
    sentence = " ".join(describe_calibration(conformal, task="multi"))
    assert ("99 calibration images with a label, or too many" in sentence) == described


def test_a_calibration_split_is_listed_if_there_is_one(tmp_path, page_of):
    assert "calibration split" not in page_of()
    run = Run(tmp_path)
    metrics = read_json(run.folders.metrics / "split.json")
    metrics["class_proportions"]["calibration"] = {"apple": 0.25, "pear": 0.75}
    run._metric("split", metrics | {"n_calibration": 8})
    text = text_of(run.page())
    assert "calibration 8 28.6 %" in text  # of 10 + 6 + 4 + 8 images
    assert "calibration 8 images" in text and "50.0 % 25.0 % 25.00" in text  # points to the others


def test_probable_label_errors_are_shown(tmp_path):
    run = Run(tmp_path, each=20)
    run.list_label_errors([("apple", "pear")] * 30, n_errors=30)
    text = text_of(run.page())
    assert "Each of 1,234 training images was predicted by a head of one, two" in text
    assert "lists 30 labels as wrong. The 24 most probable errors are shown." in text
    assert "ensemble/label_errors.csv lists all." in text
    shown = "label: apple (probability 2.3 %) suggested: pear (probability 93.5 %) apple/0.png"
    assert shown in text
    assert text.count("suggested: pear") == 24


def test_wrong_and_missing_labels_are_distinguished(tmp_path):
    run = Run(tmp_path, task="multi")
    run.list_label_errors([("apple", ""), ("", "pear")], n_errors=1500)
    text = text_of(run.page())
    assert "lists 1,500 labels as wrong or missing." in text and "lists the first 2." in text
    assert "probably wrong: apple (probability 2.3 %)" in text
    assert "probably missing: pear (probability 93.5 %)" in text


def test_that_no_label_error_was_found_or_searched_for_is_stated(tmp_path, page_of):
    assert "Label errors were not searched for" in page_of()
    run = Run(tmp_path)
    run.list_label_errors([], n_errors=0)
    assert "lists no label as wrong" in run.page()


@pytest.mark.parametrize("task", TASKS)
def test_the_spread_between_seeds_is_shown_beside_the_interval_of_the_images(
    tmp_path, page_of, task
):
    assert "between seeds" not in page_of(task=task)
    run = Run(tmp_path, task=task)
    run.train_from_seeds()
    text = text_of(run.page())
    if task == "single":
        assert "70.8 % 1.2 68.8 to 72.8 % 71.2 % 61.2 to 81.2 %" in text
        assert "two 2 71.1 % – 70.1 to 72.1 %" in text  # no standard deviation of two seeds
        assert "two one +4.1 +1.2 to +7.9 yes" in text
    else:
        assert "two one +0.041 +0.012 to +0.079 yes" in text
    assert "Larger than both sources of variation: the difference of one and two." in text
    *_, points = scores_on_test(run.facts()).figure.data
    assert list(points.y) == ["one"] * 4 + ["two"]  # without the first seed
    assert list(points.customdata) == ["2", "3", "4", "5", "2"]
    factor = 100 if task == "single" else 1
    assert points.x[0] == pytest.approx(0.687654 * factor)
    assert "Open points: other seeds." in text


def test_activations_are_not_below_the_heading_of_novelty(page_of):
    text = text_of(page_of())
    activations = text.index("Filters and activations of convolutions")
    assert activations < text.index("Nearest training images") < text.index("Images unlike")


@pytest.mark.parametrize("task", TASKS)
def test_corruptions_and_attacks_are_counted_and_tabulated(tmp_path, page_of, task):
    page = page_of(task=task)
    text = text_of(page)
    assert "2 of the 15 corruptions" in text
    assert "at 2 severities each, were applied to all 4 test images." in text
    assert "bound (L-infinity norm) of 1 to 4 gray levels of 255" in text
    table = attacks_table(Run(tmp_path, task=task).facts())
    assert [column.title for column in table.columns[2:]] == ["clean", "1/255", "4/255"]
    assert [[cell.text for cell in row[:2]] for row in table.rows[:2]] == [
        ["stack", "PGD"],
        ["stack", "FGSM"],
    ]
    chart = json.loads(re.search(r'data-chart="robustness-epsilon">(.*?)</script>', page)[1])
    assert chart["layout"]["xaxis"]["ticktext"] == ["0", "1", "4"]
    # No two error bars at the same place.
    places = [x for trace in chart["data"] for x in trace["x"]]
    assert len(set(places)) == len(places) == 3 * 6


def test_a_quotient_without_an_interval_is_a_dash(tmp_path):
    run = Run(tmp_path, n_right=0)
    assert robustness_table(run.facts()).rows[0][3] == (NOT_AVAILABLE, None, "")
