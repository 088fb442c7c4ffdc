"""Section "Data": the images that were read, and those that the filter excluded."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from operator import itemgetter
from typing import Any

from classifold.data.image_table import UNLABELED
from classifold.data.labels import format_labels
from classifold.pictures.examples import (
    choose_duplicates,
    choose_excluded,
    choose_groups,
    describe_duplicate,
    duplicate_groups,
    format_measured,
    shorten,
    spread,
)
from classifold.pictures.palette import BLUE, GRAY, ORANGE, PURPLE, VERMILION
from classifold.reporting.facts import Facts, Rows
from classifold.reporting.figures import CHARACTER_WIDTH, LINE_HEIGHT, Chart, new_figure, text
from classifold.reporting.pictures import MAX_CHARACTERS, Picture, thumbnails
from classifold.reporting.sections.class_axis import (
    MAX_BARS_IN_CLASS_ORDER,
    class_bars,
)
from classifold.reporting.tables import Cell, Column, Table, number_cell, text_table

# Kinds of conversions.csv -> the original format, and how it was converted.
UNCHANGED = "8-bit RGB"
CONVERSIONS = {
    UNCHANGED: ("8-bit RGB", "none"),
    "grayscale": ("grayscale", "the gray value is repeated in all three channels"),
    "palette": ("palette", "palette indices are replaced by their colors"),
    "alpha": ("transparent", "pasted on the background {background} (red, green, blue)"),
    "cmyk": ("CMYK", "converted to RGB"),
    "deep": ("more than 8 bits per channel", "reduced to 8 bits per channel"),
    "turned upright": ("rotated or mirrored by EXIF", "rotated or mirrored upright"),
    "animated": ("animated", "only the first frame is used"),
}

# As in .dvc/plots: each reason has the same color and symbol in every chart.
OUTCOMES = {
    "kept": (BLUE, "circle"),
    "size": (VERMILION, "diamond"),
    "duplicate": (ORANGE, "square"),
    "conflicting_labels": (PURPLE, "triangle-up"),
    "limit": (GRAY, "cross"),
}

MAX_UNREADABLE = 20
MAX_EXCLUDED = 24
MAX_DUPLICATE_GROUPS = 24
MAX_DUPLICATES_PER_GROUP = 6
MAX_SIZES = 30


def data_section(facts: Facts) -> dict[str, Any]:
    """Collect what the template of this section shows."""
    excluded = choose_excluded(facts.excluded, max_items=MAX_EXCLUDED)
    groups = [
        (group, choose_duplicates(group, max_items=MAX_DUPLICATES_PER_GROUP))
        for group in choose_groups(
            duplicate_groups(facts.duplicates), max_items=MAX_DUPLICATE_GROUPS
        )
    ]
    ids = {row["id"] for row in excluded} | {row["id"] for _, rows in groups for row in rows}
    uris = thumbnails(facts.folders.ingested, ids)
    reasons = {row["id"]: row["reason"] for row in facts.excluded}
    unreadable = spread(facts.unreadable, over=[itemgetter("reason")], max_items=MAX_UNREADABLE)
    return {
        "official": {
            split: number
            for split, number in facts.metrics["ingest"]["images_per_split"].items()
            if split != UNLABELED
        },
        "conversions": conversions_table(facts),
        "imbalance": describe_class_balance(facts.metrics["filter"]),
        "class_balance": class_balance(facts),
        "image_sizes": image_sizes(facts.sizes),
        "n_sizes": len({row["size"] for row in facts.sizes}),
        "unreadable": text_table(
            "Unreadable files", ["file", "reason"], map(itemgetter("id", "reason"), unreadable)
        ),
        "excluded": [_excluded_picture(uris[row["id"]], row) for row in excluded],
        "duplicate_groups": [
            (
                group.title(n_shown=len(rows)),
                [
                    _duplicate_picture(uris[row["id"]], row, reasons.get(row["id"], ""))
                    for row in rows
                ],
            )
            for group, rows in groups
        ],
    }


def conversions_table(facts: Facts) -> Table:
    """Tabulate the original formats and their conversions; empty if nothing was converted."""
    columns = [Column("original format"), Column("images", numeric=True), Column("conversion")]
    background = ", ".join(map(str, facts.params["ingest"]["background"]))
    rows = []
    for row in facts.conversions:
        if not int(row["n_images"]):
            continue
        original, conversion = CONVERSIONS.get(row["kind"], (row["kind"], "converted to RGB"))
        conversion = conversion.format(background=background)
        rows.append(
            [
                Cell(original, original),
                number_cell(int(row["n_images"])),
                Cell(conversion, conversion),
            ]
        )
    unchanged = all(row["kind"] == UNCHANGED for row in facts.conversions)
    caption = "Original formats and their conversions; an image may be in two rows"
    return Table(caption, columns, [] if unchanged else rows)


def describe_class_balance(filter_metrics: Mapping[str, Any]) -> str:
    """Describe the class imbalance before and after the filter.

    Args:
        filter_metrics: content of `metrics/filter.json`.
    """
    kept = filter_metrics["kept_per_class"]
    read = {name: kept[name] + filter_metrics["excluded_per_class"][name] for name in kept}
    start = f"The largest class has {_imbalance(read)} times as many images as the smallest"
    if filter_metrics["n_excluded"]:
        return f"{start} before the filter, and {_imbalance(kept)} times as many after it."
    return f"{start}. The filter excluded no image."


def class_balance(facts: Facts) -> Chart:
    """Draw the number of images in each class: kept, and excluded by reason."""
    metrics = facts.metrics["filter"]
    kept = metrics["kept_per_class"]
    classes = facts.classes
    if len(classes) > MAX_BARS_IN_CLASS_ORDER:
        classes = sorted(classes, key=lambda name: (-kept.get(name, 0), name))
    series = []
    for outcome, counts in {"kept": kept, **metrics["excluded_per_reason_and_class"]}.items():
        values = [counts.get(label, 0) for label in classes]
        if outcome == "kept" or any(values):
            name, color, _ = _outcome(outcome)
            series.append((name, color, values))
    label = "Images in each class, kept and excluded"
    return class_bars("class-balance", label, classes, series, unit="images")


def image_sizes(rows: Rows) -> Chart:
    """Draw the number of images of each size, kept and excluded by reason.

    The scale is logarithmic, so that a size with one image is visible beside one with thousands.
    The rarest of very many sizes share one row.
    """
    totals: Counter[str] = Counter()
    for row in rows:
        totals[row["size"]] += int(row["n_images"])
    sizes = [size for size, _ in totals.most_common(MAX_SIZES)]
    if n_others := len(totals) - len(sizes):
        sizes.append(f"{n_others:,} other{'s' if n_others > 1 else ''}")
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        size = row["size"] if row["size"] in sizes else sizes[-1]
        counts[row["outcome"]][size] += int(row["n_images"])
    figure = new_figure()
    for outcome in sorted(counts, key=list(OUTCOMES).index):
        name, color, symbol = _outcome(outcome)
        numbers = {size: counts[outcome][size] for size in sizes if counts[outcome][size]}
        figure.add_scatter(
            name=name,
            y=list(numbers),
            x=list(numbers.values()),
            mode="markers+text",
            marker={"color": color, "symbol": symbol, "size": 9},
            text=[f" {number:,}" for number in numbers.values()],
            textposition="middle right",
            textfont={"color": GRAY},
            cliponaxis=False,
            hovertemplate="%{y}: %{x:,} images<extra>%{fullData.name}</extra>",
        )
    ends = [math.log10(0.8), math.log10(max(totals.values(), default=1)) + 0.2]
    figure.update_xaxes(title="images (log scale)", type="log", dtick=1, range=ends)
    figure.update_xaxes(tickformat=",d")
    figure.update_yaxes(
        type="category",
        categoryorder="array",
        categoryarray=sizes,
        range=[len(sizes) - 0.4, -0.6],
        title={"text": "width x height", "standoff": 12},
    )
    # Room for the number beside the point of the most frequent size.
    figure.update_layout(margin={"r": 7 * CHARACTER_WIDTH})
    height = max(220, 130 + LINE_HEIGHT * len(sizes))  # the title of the axis takes 100
    return Chart("image-sizes", "Images of each size, kept and excluded", figure, height)


def _imbalance(counts: Mapping[str, int]) -> str:
    return f"{max(counts.values()) / min(counts.values()):,.2f}"


def _excluded_picture(uri: str, row: Mapping[str, str]) -> Picture:
    lines = [row["id"], row["reason"].replace("_", " "), format_measured(row)]
    alt = f"{row['id']}, labeled {format_labels(row['label'])}"
    return Picture(uri, alt, [shorten(line, MAX_CHARACTERS) for line in lines])


def _duplicate_picture(uri: str, row: Mapping[str, str], reason: str) -> Picture:
    details = [format_labels(row["label"]), *describe_duplicate(row, reason)]
    lines = [shorten(line, MAX_CHARACTERS) for line in (row["id"], *details)]
    return Picture(uri, f"{row['id']}: {', '.join(details)}", lines)


def _outcome(name: str) -> tuple[str, str, str]:
    """Look up the text, color and symbol of an outcome of the filter."""
    color, symbol = OUTCOMES[name]
    return text(name.replace("_", " ")), color, symbol
