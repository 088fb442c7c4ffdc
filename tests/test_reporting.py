"""The page tells every number, lets nothing out to a network, and shows hostile text as text."""

import base64
import io
import itertools
import json
import re
import subprocess
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from classifold.csv_file import write_rows
from classifold.evaluation.predictions import write_predictions
from classifold.metrics_file import read_json, write_json
from classifold.pack import new_pack
from classifold.reporting.augmentations import write_gallery
from classifold.reporting.charts import MOST_LABELLED_CLASSES, confusion_matrix, image_sizes
from classifold.reporting.facts import Folders, read_facts
from classifold.reporting.page import worst_mistakes, write_page
from classifold.reporting.pictures import to_uri
from classifold.reporting.provenance import Provenance, read_provenance
from classifold.reporting.tables import confusions_table, conversions_table
from classifold.reporting.wording import (
    SPACE,
    balance_sentence,
    compare_answers,
    gain_sentence,
    percent,
)
from classifold.table import write_table

SECTIONS = [
    *("verdict", "data", "split", "augmentation", "models"),
    *("stack", "test", "understanding", "rebuild"),
]
PLAIN = ("apple", "pear")
HOSTILE = ("<script>alert(1)</script>", "=cmd()", '"><img src=x onerror=alert(2)>', "2020-01-01")
MODELS = ("one", "two")
COPIES = 3
LOOKED_FOR = {"exact": "drop", "near": "group", "conflicting": "drop"}
SIDE = 8
PROVENANCE = Provenance("abc1234", [], {"python": "3.12.0"})


class Run:
    """What the stages leave of a run over a handful of drawn images."""

    def __init__(
        self,
        root: Path,
        *,
        classes=PLAIN,
        n_test=4,
        each=5,
        kept_only=True,
        n_right=3,
        official=None,
        duplicates=None,
    ):
        self.root, self.classes, self.n_test = root, list(classes), n_test
        self.labels = {f"{name}/{i}.png": name for name in classes for i in range(each)}
        self.ids = list(self.labels)
        self.left_out = [] if kept_only else self.ids[:2]
        self.test_ids = [self.ids[i % len(self.ids)] for i in range(n_test)]
        self.n_right = n_right
        self.official = official or {}
        self.folders = Folders(
            **{name: root / name for name in Folders._fields if name not in {"metrics", "timings"}},
            metrics=root / "metrics",
            timings=root / "timings",
        )
        for folder in self.folders:
            folder.mkdir(parents=True, exist_ok=True)
        self._data()
        self._training()
        self._evaluation()
        self._analysis()
        self.params = {
            "ingest": {"background": [255, 255, 255]},
            "filter": {"duplicates": LOOKED_FOR | (duplicates or {})},
            "dataset": {"path": "data/raw/fruit", "layout": "folder", "task": "single"},
            "train": {"device": "auto", "precision": "auto", "threads": 2},
            "models": {name: {"network": "mlp", "online": "turned"} for name in MODELS},
            "policies": {
                "none": {"fill": "reflect", "steps": []},
                "turned": {"fill": "black", "steps": [{"rotate": 20}, {"shift": [0.1, 0.2]}]},
            },
        }

    def facts(self):
        return read_facts(self.folders, params=self.params, params_text="a: 1 # <b>why</b>\n")

    def page(self):
        path = self.root / "reports" / "index.html"
        write_page(path, self.facts(), PROVENANCE)
        return path.read_text(encoding="utf-8")

    def _metric(self, name, content):
        write_json(self.folders.metrics / f"{name}.json", content)

    def _data(self):
        rows = ({"id": i, "image": {"bytes": drawn(i), "path": i}} for i in self.ids)
        write_table(self.folders.ingested, ({**EMPTY_ROW, **row} for row in rows))
        counts = Counter(self.labels.values())
        gone = Counter(self.labels[i] for i in self.left_out)
        n_images, n_gone = len(self.ids), len(self.left_out)
        broken = [{"id": "b<i>.png", "reason": "cut <b>off</b>"}] * (25 if n_gone else 0)
        converted = {"grayscale": 1 if n_gone else 0, "palette": 0}
        self._metric(
            "ingest",
            {
                "n_files": n_images + len(broken),
                "n_images": n_images,
                "n_unreadable": len(broken),
                "n_converted_to_rgb": sum(converted.values()),
                "converted": converted,
                "n_turned_upright": 0,
                "n_animated": 2 if n_gone else 0,
                "n_unlabelled": self.official.get("unlabelled", 0),
                "images_per_part": self.official,
                "n_classes": len(self.classes),
                "images_per_class": counts,
            },
        )
        conversions = {"8-bit RGB": n_images - (n_gone > 0)}
        conversions |= {"grayscale": 1, "animated": 2} if n_gone else {}
        write_rows(
            self.folders.ingested / "conversions.csv",
            ({"kind": kind, "n_images": number} for kind, number in conversions.items()),
            columns=["kind", "n_images"],
        )
        self._metric(
            "filter",
            {
                "n_images": n_images,
                "n_kept": n_images - n_gone,
                "n_excluded": n_gone,
                "excluded": {"size": 1 if n_gone else 0, "duplicate": 1 if n_gone else 0},
                "modal_size": [SIDE, SIDE],
                "kept_per_class": {name: counts[name] - gone[name] for name in self.classes},
                "excluded_per_class": {name: gone[name] for name in self.classes},
                "excluded_per_reason_and_class": {
                    reason: {name: int(self.labels[i] == name) for name in self.classes}
                    for i, reason in zip(self.left_out, ("size", "duplicate"), strict=False)
                },
                "n_copy_groups": 1 if n_gone else 0,
                "n_copies": {"exact": 2, "near": 1} if n_gone else {},
                "n_test_images_with_copies": 1 if "test" in self.official else 0,
            },
        )
        write_rows(self.folders.ingested / "unreadable.csv", broken, columns=["id", "reason"])
        excluded = [
            {"id": i, "label": self.labels[i], "reason": reason, "measured": measured}
            for i, reason, measured in zip(
                self.left_out, ("size", "duplicate"), ("4x4", self.ids[2]), strict=False
            )
        ]
        filtered = self.folders.filtered
        columns = ["id", "label", "reason", "measured"]
        write_rows(filtered / "excluded.csv", excluded, columns=columns)
        columns = ["group", "id", "label", "part", "kind", "kept"]
        first, second, third = self.ids[1], self.ids[2], self.ids[-1]
        fates = [
            (first, self.labels[first], "", "exact", "false"),
            (second, self.labels[second], "", "exact", "true"),
            (third, "|".join(self.classes[:2]), "test", "near", "true"),
        ]
        copies = [dict(zip(columns, (first, *fate), strict=True)) for fate in fates if n_gone]
        write_rows(filtered / "copies.csv", copies, columns=columns)
        sizes = [("8x8", "kept", n_images - n_gone), ("4x4", "size", 1), ("8x8", "duplicate", 1)]
        columns = ["size", "outcome", "n_images"]
        shown = sizes if n_gone else sizes[:1]
        write_rows(
            filtered / "sizes.csv",
            (dict(zip(columns, size, strict=True)) for size in shown),
            columns=columns,
        )

    def _training(self):
        n_images, n_classes = len(self.ids), len(self.classes)
        shares = {name: 1 / n_classes for name in self.classes}
        self._metric(
            "split",
            {
                "n_train": n_images,
                "n_validation": 6,
                "n_test": self.n_test,
                "class_shares": {
                    "train": shares,
                    "validation": shares,
                    "test": shares if self.n_test else {},
                },
                "max_share_gap": 0.0123,
                "n_groups": n_images,
                "n_groups_across_parts": 0,
            },
        )
        self._metric(
            "augment",
            {
                "n_source": n_images,
                "n_images": n_images * COPIES,
                "copies": COPIES,
                "n_validation": 6,
                "n_bytes": 1,
            },
        )
        with new_pack(
            self.folders.augmented,
            n_images=n_images * COPIES,
            size=SIDE,
            resize="lanczos",
            classes=sorted(self.classes),
        ) as pack:
            for number, (image_id, label) in enumerate(self.labels.items()):
                for copy in range(COPIES):
                    words = f"rotate {copy}.00" if copy else "none"
                    pack.put(
                        number * COPIES + copy, [np.full((SIDE, SIDE, 3), 40 * copy, np.uint8)]
                    )
                    pack.describe(
                        image_id=image_id,
                        copy=copy,
                        transformation=words,
                        labels=[label],
                    )
        trained = {
            "train_accuracy": 0.99,
            "validation_accuracy": 0.833333,
            "best_epoch": 2,
            "n_epochs": 3,
            "n_parameters": 12345,
        }
        majority = {
            "train_accuracy": 0.5,
            "validation_accuracy": 0.5,
            "predicted_class": self.classes[0],
            "n_parameters": 0,
        }
        self._metric("models", dict.fromkeys(MODELS, trained) | {"majority_baseline": majority})
        history = [
            {
                "model": name,
                "epoch": epoch,
                **{f"{part}_loss": 1 / epoch for part in ("train", "validation")},
                **{f"{part}_accuracy": 1 - 0.5 / epoch for part in ("train", "validation")},
            }
            for name in MODELS
            for epoch in (1, 2, 3)
        ]
        write_rows(self.folders.compared / "history.csv", history, columns=list(history[0]))
        self._metric(
            "stack",
            {
                "method": "dense",
                "members": list(MODELS),
                "n_members": len(MODELS),
                "validation_accuracy": 0.666667,
                "best_member": "two",
                "best_member_accuracy": 0.833333,
                "mean_accuracy": 0.5,
                "gain": -0.166667,
                "gain_ci95": [-0.4, 0.1],
                "n_images": 6,
            },
        )
        for name in ("ingest", "train/one", "train/two", "stack"):
            write_json(self.folders.timings / f"{name}.json", {"seconds": 75.0})

    def _evaluation(self):
        scores = {
            "accuracy": 0.712345,
            "accuracy_ci95": [0.612345, 0.812345],
            "top3_accuracy": 0.912345,
            "top5_accuracy": 0.962345,
            "macro_f1": 0.654321,
            "log_loss": 0.543219,
            "calibration_error": 0.043219,
            "n_images": self.n_test,
        }
        names = [*MODELS, "stack", "majority_baseline"]
        self._metric("test", dict.fromkeys(names, scores if self.n_test else {"n_images": 0}))
        n_classes = len(self.classes)
        position = {name: i for i, name in enumerate(self.classes)}
        labels = np.array([position[self.labels[i]] for i in self.test_ids], np.int64)
        answers = np.full((self.n_test, n_classes), 0.3 / max(n_classes - 1, 1))
        wrong = np.arange(self.n_test) >= self.n_right
        predicted = (labels + wrong) % n_classes
        answers[np.arange(self.n_test), predicted] = 0.7
        folder = self.folders.evaluated
        write_predictions(
            folder / "predictions.parquet",
            dict.fromkeys(names, answers),
            dict.fromkeys(names, answers.argmax(axis=1)),
            ids=self.test_ids,
            labels=labels,
            classes=self.classes,
        )
        pairs = [
            {"actual": self.classes[a], "predicted": self.classes[p]}
            for a, p in zip(labels, predicted, strict=True)
        ]
        write_rows(folder / "confusion.csv", pairs, columns=["actual", "predicted"])
        measures = dict.fromkeys(("precision", "recall", "f1"), 0.75)
        per_class = [
            {"model": "stack", "class": name, **measures, "support": 2} for name in self.classes
        ]
        columns = ["model", "class", "precision", "recall", "f1", "support"]
        write_rows(folder / "per_class.csv", per_class if self.n_test else [], columns=columns)
        bins = {"low": 0.6, "high": 0.8, "n_images": 4, "confidence": 0.7, "accuracy": 0.75}
        columns = ["model", *bins]
        rows = [{"model": "stack", **bins}] if self.n_test else []
        write_rows(folder / "calibration.csv", rows, columns=columns)

    def _analysis(self):
        rules = ("variance", "singular_values")
        counts = {f"components_{share}_{rule}": 4 for rule in rules for share in (90, 95)}
        channels = ("red", "green", "blue")
        self._metric(
            "pca",
            {"n_images": 10, "size": 8, "n_features": 64, **dict.fromkeys(channels, counts)},
        )
        curve = [
            {
                "channel": channel,
                "component": k,
                "variance_share": k / 4,
                "singular_value_share": k / 5,
            }
            for channel in channels
            for k in (1, 2, 3, 4)
        ]
        write_rows(self.folders.pca / "explained.csv", curve, columns=list(curve[0]))
        Image.new("RGB", (30, 10)).save(self.folders.pca / "components.png")
        tried = {"5": {"kl_divergence": 0.5, "trustworthiness": 0.98}}
        space = {"perplexity": 5, "tried": tried}
        self._metric("tsne", {"n_images": 10, "model": "one", "pixels": space, "features": space})
        points = [
            {"space": name, "perplexity": 5, "id": i, "label": self.labels[i], "x": x, "y": -x}
            for name in ("pixels", "features")
            for x, i in enumerate(self.ids)
        ]
        write_rows(self.folders.tsne / "chosen.csv", points, columns=list(points[0]))
        n_explained = min(self.n_test, 2)
        share = 0.3 if n_explained else None
        self._metric(
            "explain",
            {
                "model": "one",
                "n_images": n_explained,
                "n_right": n_explained,
                "n_wrong": 0,
                "saliency_in_tenth": share,
            },
        )
        if n_explained:
            Image.new("RGB", (40, 20)).save(self.folders.explained / "explanations.png")


EMPTY_ROW = {
    **dict.fromkeys(("part", "group", "boxes", "mode", "sha256", "perceptual_hash")),
    "labels": [],
    "width": SIDE,
    "height": SIDE,
}


def drawn(image_id):
    """A small picture of its own colour."""
    buffer = io.BytesIO()
    colour = tuple(sum(image_id.encode()) * factor % 256 for factor in (1, 3, 7))
    Image.new("RGB", (SIDE, SIDE), colour).save(buffer, "PNG")
    return buffer.getvalue()


class Reader(HTMLParser):
    """The elements of a page, the text that a person sees, and what scripts hold."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.scripts, self.inside, self.words = [], [], None, []
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
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def test_the_page_has_every_section_in_its_order(tmp_path):
    page = Run(tmp_path).page()
    assert re.findall(r'<section id="(\w+)"', page) == SECTIONS
    assert re.findall(r'href="#(\w+)"', page) == SECTIONS


def test_headings_skip_no_level(tmp_path):
    page = Run(tmp_path, kept_only=False).page()
    levels = [int(level) for level in re.findall(r"<h([1-6])[ >]", page)]
    assert levels[0] == 1
    steps = itertools.pairwise(levels)
    assert all(after <= before + 1 for before, after in steps)


def test_nothing_is_loaded_from_a_network(tmp_path):
    page = Run(tmp_path, kept_only=False, classes=HOSTILE).page()
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style and "@import" not in style
    for _, attributes in Reader(page).elements:
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            assert attributes.get(name, "#").startswith(("data:", "#"))
    # ... and the browser is told so, for what scripts might do.
    assert "default-src 'none'; img-src data: blob:;" in page


def test_every_picture_has_words_and_a_size(tmp_path):
    page = Run(tmp_path, kept_only=False).page()
    pictures = [attributes for tag, attributes in Reader(page).elements if tag == "img"]
    assert len(pictures) > 10
    for picture in pictures:
        assert "width" in picture and "height" in picture
        assert picture["alt"] or "src" not in picture


def test_hostile_names_come_out_as_text(tmp_path):
    page = Run(tmp_path, classes=HOSTILE, kept_only=False).page()
    reader = Reader(page)
    assert not [tag for tag, attributes in reader.elements if "onerror" in attributes]
    assert "<script>alert" not in page
    # Points, three scripts of ours and Plotly's, one a chart: no name has made another.
    charts_in_page = [a for tag, a in reader.elements if tag == "script" and "data-chart" in a]
    assert len(reader.scripts) == len(charts_in_page) + 3
    for name in HOSTILE:
        assert name in reader.text
    assert "cut <b>off</b>" in reader.text
    assert "a: 1 # <b>why</b>" in reader.text


def test_names_in_charts_reach_plotly_escaped(tmp_path):
    facts = Run(tmp_path, classes=HOSTILE).facts()
    told = confusion_matrix(facts).to_json()
    assert "<" not in told
    labels = json.loads(told)["data"][0]["x"]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in labels
    # A class that looks like a date stays a category.
    assert json.loads(told)["layout"]["xaxis"]["type"] == "category"


def test_every_number_of_the_stack_on_test_images_is_told(tmp_path):
    run = Run(tmp_path)
    page = Reader(run.page()).text.replace(SPACE, " ")
    numbers = ["71.2 %", "61.2 to 81.2 %", "91.2 %", "96.2 %", "0.654", "0.543", "0.043"]
    measured = read_json(run.folders.metrics / "test.json")["stack"]
    assert len(numbers) == len(measured) - 1
    for number in [*numbers, "4 test images"]:
        assert number in page


def test_what_was_left_out_and_not_read_is_shown(tmp_path):
    page = Reader(Run(tmp_path, kept_only=False).page()).text
    assert "25 files could not be read" in page and "20 of them follow" in page
    assert "2 images left out: 1 for size, 1 for duplicate" in page
    assert "is 4x4" in page and "copy of apple/2.png" in page


def test_images_of_a_group_of_copies_are_shown_with_their_labels_and_fates(tmp_path):
    page = Reader(Run(tmp_path, kept_only=False).page()).text
    assert "1 group of copies: 2 images with the very pixels of another, 1 image that only" in page
    assert "3 copies, labels differ" in page
    assert "apple/1.png apple left out exact copy" in page
    assert "apple/2.png apple kept exact copy" in page
    assert "pear/4.png apple, pear kept, official test near copy" in page


@pytest.mark.parametrize(
    ("duplicates", "told", "untold"),
    [
        pytest.param({}, "No copies were found", "look alike", id="all"),
        pytest.param({"near": "off"}, "look alike were not looked for", "all of", id="exact"),
        pytest.param(
            dict.fromkeys(LOOKED_FOR, "off"), "Copies were not looked for", "No copies", id="none"
        ),
    ],
)
def test_the_page_claims_no_copies_only_of_those_that_were_looked_for(
    tmp_path, duplicates, told, untold
):
    page = Reader(Run(tmp_path, duplicates=duplicates).page()).text
    assert told in page and untold not in page


def test_what_was_done_to_images_is_counted_a_kind(tmp_path):
    table = conversions_table(Run(tmp_path, kept_only=False).facts())
    assert [[cell.text for cell in row[:2]] for row in table.rows] == [
        ["8-bit RGB", "9"],
        ["grayscale", "1"],
        ["animated", "2"],
    ]


def test_official_parts_and_their_copies_in_training_are_told(tmp_path):
    official = {"train": 4, "test": 3, "unlabelled": 3}
    page = Reader(Run(tmp_path, kept_only=False, official=official).page()).text
    assert "official parts: train (4 images), test (3 images)." in page
    assert "without a label 3" in page
    assert "1 image of the official test has a copy among images kept for training" in page
    assert "The official test part stayed as published" in page


def test_without_official_parts_none_is_mentioned(tmp_path):
    page = Reader(Run(tmp_path).page()).text
    assert "official" not in page and "without a label" not in page


def test_class_balance_is_told_before_and_after_the_filter():
    # 12 and 4 images were read, 6 and 4 kept.
    filtered = {
        "n_excluded": 6,
        "kept_per_class": {"a": 6, "b": 4},
        "excluded_per_class": {"a": 6, "b": 0},
    }
    assert "3.00 times as many images as the smallest before" in balance_sentence(filtered)
    assert "1.50 times after" in balance_sentence(filtered)


def test_one_image_of_a_size_is_seen_beside_thousands_of_another():
    rows = [("9x9", "kept", 5000), ("9x9", "duplicate", 2), ("1x9", "size", 1)]
    columns = ("size", "outcome", "n_images")
    figure = image_sizes([dict(zip(columns, row, strict=True)) for row in rows]).figure
    drawn_points = {(t.name, y, x) for t in figure.data for x, y in zip(t.x, t.y, strict=True)}
    assert drawn_points == {("kept", "9x9", 5000), ("duplicate", "9x9", 2), ("size", "1x9", 1)}
    low, high = figure.layout.xaxis.range
    assert figure.layout.xaxis.type == "log" and low < 0 and high > np.log10(5000)


def test_of_a_thousand_sizes_the_rare_ones_are_summed_up():
    rows = [{"size": f"{i}x1", "outcome": "kept", "n_images": 1 + (i < 5)} for i in range(1000)]
    chart = image_sizes(rows)
    counts = dict(zip(chart.figure.data[0].y, chart.figure.data[0].x, strict=True))
    assert sum(counts.values()) == 1005
    assert counts["970 others"] == 970 and counts["0x1"] == 2
    assert chart.height < 1000


def test_a_run_with_nothing_amiss_says_so(tmp_path):
    page = Reader(Run(tmp_path, n_right=4).page()).text
    for sentence in (
        "Every image file could be read.",
        "No image was left out.",
        "No copies were found",
        "The stack made no mistake on 4 test images.",
        "none was converted",
    ):
        assert sentence in page


def test_without_test_images_the_page_shows_validation_and_says_so(tmp_path):
    page = Run(tmp_path, n_test=0).page()
    text = Reader(page).text.replace(SPACE, " ")
    assert "There are no test images" in text
    assert "66.7 %" in text and "6 validation images" in text and "optimistic" in text
    assert 'data-chart="confusion"' not in page
    assert "no answers were explained" in text
    assert re.findall(r'<section id="(\w+)"', page) == SECTIONS


def test_200_classes_stay_within_a_few_charts_and_labels(tmp_path):
    classes = [f"class {i:03} with quite a long name" for i in range(200)]
    run = Run(tmp_path, classes=classes, each=1, n_test=200, n_right=150)
    assert len(run.page()) < 8e6
    confusion = confusion_matrix(run.facts())
    assert len(confusion.figure.layout.xaxis.ticktext) <= MOST_LABELLED_CLASSES
    assert confusion.height <= 950


def test_the_confusion_matrix_counts_every_test_image(tmp_path):
    run = Run(tmp_path, n_test=10, n_right=7)
    figure = confusion_matrix(run.facts()).figure
    right, wrong = (np.nan_to_num(trace.z).astype(bool) for trace in figure.data)
    counts = np.array(figure.data[0].customdata)
    assert counts.sum() == 10
    assert (counts * right).sum() == 7
    assert (counts * wrong).sum() == 3


@pytest.mark.parametrize(
    ("share", "n_images", "expected"),
    [
        pytest.param(0.5, 10, "50.0 %", id="one decimal"),
        pytest.param(0.12345, 20_000, "12.35 %", id="two for many images"),
        pytest.param(0.9999, 5_000, "99.99 %", id="never rounded up to all"),
        pytest.param(0.0001, 5_000, "0.01 %", id="never rounded down to none"),
        pytest.param(1.0, 10, "100.0 %", id="all"),
        pytest.param(None, 0, "–", id="not measured"),
    ],
)
def test_percentages_by_hand(share, n_images, expected):
    assert percent(share, n_images=n_images).replace(SPACE, " ") == expected


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        pytest.param([0.01, 0.03], "lies above zero", id="better"),
        pytest.param([-0.03, -0.01], "lies below zero", id="worse"),
        pytest.param([-0.01, 0.0], "not distinguishable from zero", id="touching"),
        pytest.param([0.0, 0.0], "not distinguishable from zero", id="equal"),
    ],
)
def test_a_gain_is_only_claimed_when_its_interval_excludes_zero(ends, expected):
    assert expected in gain_sentence({"gain_ci95": ends, "best_member": "one"})


@pytest.mark.parametrize(
    ("only_stack", "only_other", "expected"),
    [
        pytest.param(0, 0, "exactly the same images", id="equal"),
        # Two tails of 2 ** -5.
        pytest.param(5, 0, "Chance alone could do that (exact McNemar test, p = 0.062)", id="few"),
        pytest.param(10, 0, "more than chance would do (exact McNemar test, p = 0.002)", id="many"),
    ],
)
def test_the_stack_and_a_model_are_told_apart_by_images_they_differ_in(
    only_stack, only_other, expected
):
    right, wrong = {"label": "a", "predicted": "a"}, {"label": "a", "predicted": "b"}
    stack = [right] * 7 + [right] * only_stack + [wrong] * only_other
    other = [right] * 7 + [wrong] * only_stack + [right] * only_other
    assert expected in compare_answers(stack, other, name="one")


def test_the_most_confident_mistakes_come_first():
    answers = [
        {"id": i, "label": "a", "predicted": predicted, "probability": probability}
        for i, predicted, probability in (("1", "b", 0.4), ("2", "a", 0.99), ("3", "b", 0.9))
    ]
    assert [row["id"] for row in worst_mistakes(answers, most=5)] == ["3", "1"]


def test_the_most_frequent_confusions_come_first_with_their_share():
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


def test_provenance_tells_the_commit_and_what_changed_since(tmp_path):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "file").write_text("1")
    for arguments in (["init", "-q"], ["add", "file"], ["commit", "-qm", "one"]):
        subprocess.run([*git, *arguments], check=True)
    clean = read_provenance(tmp_path)
    (tmp_path / "file").write_text("2")
    assert clean.commit and clean.changed == []
    assert read_provenance(tmp_path).changed == ["file"]


def test_provenance_is_unknown_without_git(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert read_provenance(tmp_path).commit is None


def test_the_page_shows_what_each_policy_makes_of_images_and_who_learns_from_it(tmp_path):
    page = Run(tmp_path).page()
    assert "<code>turned</code>: rotate 20, shift [0.1, 0.2] – " + ", ".join(MODELS) in page
    assert "<code>none</code>: nothing is done</summary>" in page


def test_a_gallery_page_of_a_policy_opens_from_disk_and_escapes_names(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    policy = {"fill": "edge", "steps": [{"flip": "both"}, {"mix": {"mixup": 1.0}}]}
    names = ["a.png", "<script>b.png"]
    settings = {"policy_name": "both", "names": names, "n_draws": 5, "seed": 1}
    write_gallery(tmp_path / "page.html", images, policy, **settings)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("<img ") == 2 * (1 + 5)
    assert "flip both, mix mixup 1.0; borders: edge" in page
    assert "&lt;script&gt;b.png" in page
    assert "<script>" not in page
    assert "http" not in page.replace("http-equiv", "")
