"""Section "Analysis": principal components, t-SNE maps and explained predictions."""

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
from markupsafe import Markup

from classifold.data.labels import format_labels
from classifold.evaluation.intervals import accuracy_interval
from classifold.pictures.palette import BLUE, GRAY, GREEN, VERMILION
from classifold.plain_text import plain_text
from classifold.reporting.facts import Facts, Rows
from classifold.reporting.figures import (
    PERCENT_AXIS,
    Chart,
    new_figure,
    nth_color,
    nth_symbol,
    percentages,
    text,
)
from classifold.reporting.formats import PERCENT, count, decimal, interval, percent
from classifold.reporting.pictures import file_to_uri, thumbnails
from classifold.reporting.tables import Cell, Column, Table, decimal_cell, number_cell
from classifold.reporting.weights import describe_weights

MAX_LEGEND_CLASSES = 24
MAX_POINTS_PER_CURVE = 250
MAX_POINTS_PER_MAP = 1500
MAP_THUMBNAIL_SIDE = 48  # pixels
# Of `explain`: whether they have many photos.
FIGURES = {"explanations": True, "neighbors": True, "filters": False, "activations": False}


def analysis_section(facts: Facts) -> dict[str, Any]:
    """Collect what the template of this section shows."""
    mapped = mapped_images(facts.maps)
    positions = {row["id"]: number for number, row in enumerate(mapped)}
    uris = thumbnails(facts.folders.ingested, list(positions), side=MAP_THUMBNAIL_SIDE)
    points = [[uris[row["id"]], plain_text(row["id"]), plain_text(row["label"])] for row in mapped]
    pca, explained = facts.folders.pca, facts.folders.explained
    found = facts.metrics["pca"]
    of_one = found["one_image"]
    record = facts.weights.get(facts.metrics["tsne"]["model"])
    return {
        **(_components(facts) if facts.components else {}),
        "image_components": file_to_uri(pca / "image_components.png"),
        "image_components_needed": components_table(of_one, n_features=of_one["n_components"]),
        "maps": [
            map_of_images(facts.maps, space=space, positions=positions)
            for space in ("pixels", "features")
            if mapped
        ],
        # The only script element with text from data; no "<" in it can end the element.
        "points": Markup(json.dumps(points).replace("<", "\\u003c")),  # noqa: S704
        "n_mapped": len(mapped),
        "n_map_classes": len({row["label"] for row in mapped}),
        "perplexities": perplexities_table(facts.metrics["tsne"]),
        "initial_weights": describe_weights(record) if record else None,
        "neighbors_table": neighbors_table(facts.neighbors),
        "novelty": describe_novelty(facts),
        # Some networks have no convolutions.
        **{
            name: file_to_uri(path, lossy=lossy) if path.is_file() else None
            for name, lossy in FIGURES.items()
            for path in (explained / f"{name}.png",)
        },
    }


def describe_novelty(facts: Facts) -> list[str]:
    """Describe how many test images are unlike the training images; nothing without any."""
    fitted, tested = facts.metrics["novelty"], facts.metrics["explain"]["novelty"]
    if "reason" in fitted:
        return [f"No image gets the remark: {fitted['reason']}."]
    if not tested["n_images"]:
        return []
    n_images, n_novel = tested["n_images"], tested["n_novel"]
    ends = interval(accuracy_interval(n_novel, n_images), n_images=n_images)
    sentences = [
        f"The threshold, {fitted['threshold']:.3f}, was fitted on "
        f"{count(fitted['n_calibration_images'], fitted['calibrated_on'] + ' image')}: at most "
        f"{100 * tested['expected_fraction']:g}{PERCENT} of new images from the same source are "
        "above it, in the mean over sets of such held-out images.",
        f"Of {count(n_images, 'test image')}, {n_novel:,} {'is' if n_novel == 1 else 'are'} "
        f"({percent(tested['novel_fraction'], n_images=n_images)}; 95{PERCENT} interval {ends}).",
    ]
    correct = [
        f"{round(fraction * n_each):,} of the {n_each:,} {name}"
        for name, fraction, n_each in (
            ("above it", tested["correct"]["novel"], n_novel),
            ("others", tested["correct"]["other"], n_images - n_novel),
        )
        if fraction is not None
    ]
    return [*sentences, f"{fitted['model']} predicts {' and '.join(correct)} correctly."]


def _components(facts: Facts) -> dict[str, Any]:
    """Show the principal components of the training images."""
    found, folder = facts.metrics["pca"], facts.folders.pca
    return {
        "pca": explained_variance(facts.components),
        "one_channel": channels_are_equal(facts.components),
        "components": file_to_uri(folder / "components.png"),
        "components_needed": components_table(found, n_features=found["n_features"]),
        "reconstruction": file_to_uri(folder / "reconstruction.png"),
    }


def explained_variance(rows: Rows) -> Chart:
    """Draw the fraction that the first k components explain, of variance and singular values."""
    curves: dict[str, Rows] = defaultdict(list)
    for row in rows:
        curves[row["channel"]].append(row)
    colors = {"red": VERMILION, "green": GREEN, "blue": BLUE}
    if channels_are_equal(rows):
        curves, colors = {"all channels": next(iter(curves.values()))}, {"all channels": BLUE}
    rules = (("variance", "explained_variance_ratio", "solid"), ("singular values", None, "dash"))
    figure = new_figure()
    for channel, points in curves.items():
        some = [points[i] for i in _log_spaced_indices(len(points), n_indices=MAX_POINTS_PER_CURVE)]
        for rule, column, dash in rules:
            figure.add_scatter(
                name=f"{text(channel)}, {rule}",
                x=[int(row["component"]) for row in some],
                y=percentages(float(row[column or "singular_value_ratio"]) for row in some),
                mode="lines",
                line={"color": colors.get(channel, GRAY), "dash": dash, "width": 1.8},
                hovertemplate="%{fullData.name}: %{x} components explain "
                f"%{{y:.1f}}{PERCENT}<extra></extra>",
            )
    for percentage in (90, 95):
        figure.add_hline(y=percentage, line={"color": GRAY, "dash": "dot", "width": 1})
    figure.update_xaxes(title="components (log scale)", type="log", dtick=1, tickformat=",d")
    figure.update_yaxes(title="explained fraction", range=[0, 102], **PERCENT_AXIS)
    return Chart("pca", "Fraction of the variance that principal components explain", figure, 380)


def map_of_images(rows: Rows, *, space: str, positions: Mapping[str, int]) -> Chart:
    """Draw a t-SNE map; each class has a color and a symbol.

    Args:
        rows: rows of the chosen maps.
        space: pixels or features.
        positions: id -> position in the list of thumbnails; other images are not shown.
    """
    groups: dict[str, Rows] = defaultdict(list)
    for row in rows:
        if row["space"] == space and row["id"] in positions:
            groups[row["label"]].append(row)
    figure = new_figure()
    for number, label in enumerate(sorted(groups)):
        points = groups[label]
        figure.add_scatter(
            name=text(label),
            x=[float(row["x"]) for row in points],
            y=[float(row["y"]) for row in points],
            customdata=[positions[row["id"]] for row in points],
            mode="markers",
            marker={
                "color": nth_color(number),
                "symbol": nth_symbol(number),
                "size": 6,
                "opacity": 0.8,
            },
            hoverinfo="none",  # the script of the page shows the image
        )
    axis = {"showticklabels": False, "zeroline": False, "title": None, "showgrid": False}
    figure.update_xaxes(**axis, showline=True, mirror=True)
    figure.update_yaxes(**axis, showline=True, mirror=True, scaleanchor="x", scaleratio=1)
    figure.update_layout(
        showlegend=len(groups) <= MAX_LEGEND_CLASSES, margin={"l": 10, "r": 10, "t": 10, "b": 10}
    )
    n_points = sum(map(len, groups.values()))
    label = f"t-SNE map of {count(n_points, 'training image')} by {space}"
    return Chart(f"map-{space}", label, figure, 460)


def mapped_images(rows: Rows) -> Rows:
    """Choose the images that maps show: all, or an evenly spaced sample."""
    by_id = {row["id"]: row for row in rows}
    listed = list(by_id.values())
    step = max(1, math.ceil(len(listed) / MAX_POINTS_PER_MAP))
    return listed[::step]


def channels_are_equal(rows: Rows) -> bool:
    """Whether the curves of all color channels are equal, as for grayscale images."""
    curves: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        curves[row["channel"]].append(row["explained_variance_ratio"])
    return len(set(map(tuple, curves.values()))) <= 1


def components_table(found: Mapping[str, Any], *, n_features: int) -> Table:
    """Tabulate the number of components that explain 90 % and 95 %, by both criteria."""
    keys = [
        f"components_{percentage}_{rule}"
        for rule in ("variance", "singular_values")
        for percentage in (90, 95)
    ]
    columns = [
        Column("channel"),
        *(
            Column(f"for {key.split('_')[1]} %", numeric=True, subtitle=f"of the {rule}")
            for key in keys
            for rule in [" ".join(key.split("_")[2:])]
        ),
    ]
    rows = [
        [Cell(channel, channel), *(number_cell(found[channel][key]) for key in keys)]
        for channel in ("red", "green", "blue")
    ]
    return Table(f"Number of components needed, of {n_features:,}", columns, rows)


def perplexities_table(tsne: Mapping[str, Any]) -> Table:
    """Tabulate the perplexities that were tried, and the chosen ones."""
    columns = [
        Column("space"),
        Column("perplexity", numeric=True),
        Column("trustworthiness", numeric=True),
        Column("KL divergence", numeric=True),
        Column("chosen"),
    ]
    rows = []
    for space in ("pixels", "features"):
        found = tsne.get(space, {"tried": {}})
        for perplexity, tried in found["tried"].items():
            chosen = "chosen" if float(perplexity) == found["perplexity"] else ""
            trust, divergence = tried["trustworthiness"], tried["kl_divergence"]
            rows.append(
                [
                    Cell(space, space),
                    Cell(perplexity, float(perplexity)),
                    Cell(f"{trust:.4f}", trust),
                    Cell(decimal(divergence), divergence),
                    Cell(chosen, chosen or None),
                ]
            )
    return Table("t-SNE maps by perplexity", columns, rows)


def neighbors_table(rows: Rows) -> Table:
    """Tabulate the training images that are nearest to each explained image.

    Args:
        rows: rows of `neighbors.csv`.
    """
    columns = [
        Column("test image"),
        Column("label"),
        Column("predicted"),
        Column("rank", numeric=True),
        Column("training image"),
        Column("its label"),
        Column("similarity", numeric=True),
    ]
    labels = ("label", "predicted", "neighbor_label")
    shown = [{**row, **{key: format_labels(row[key]) for key in labels}} for row in rows]
    return Table(
        "Nearest training images",
        columns,
        [
            [
                *(Cell(row[key], row[key]) for key in ("id", "label", "predicted")),
                number_cell(int(row["rank"])),
                *(Cell(row[key], row[key]) for key in ("neighbor", "neighbor_label")),
                decimal_cell(float(row["similarity"])),
            ]
            for row in shown
        ],
    )


def _log_spaced_indices(n_points: int, *, n_indices: int) -> list[int]:
    """Choose at most `n_indices` positions, which are evenly spaced on a log axis."""
    return sorted({round(value) - 1 for value in np.geomspace(1, n_points, n_indices)})
