"""The charts of the page, as Plotly figures.

Text from data goes through `text`: Plotly reads some HTML in labels. Backgrounds are
transparent and colors readable on light and on dark; the page's script sets the colors of
text and grids, which follow the reader's scheme.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from classifold.evaluation.intervals import accuracy_interval
from classifold.pictures.palette import BLUE, GRAY, GREEN, ORANGE, PURPLE, SKY_BLUE, VERMILION
from classifold.reporting.facts import STACK, Facts, Rows
from classifold.reporting.figures import (
    LINE_HEIGHT,
    Chart,
    text,
)
from classifold.reporting.figures import layout as _layout
from classifold.reporting.figures import new_figure as _figure
from classifold.reporting.measures import Measure, count

COLORS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY_BLUE, GRAY)
SYMBOLS = (
    "circle",
    "square",
    "diamond",
    "triangle-up",
    "x",
    "star",
    "cross",
    "triangle-down",
    "pentagon",
    "hexagram",
    "hourglass",
)

# As in .dvc/plots: a reason has one color wherever it is drawn.
OUTCOMES = {
    "kept": (BLUE, "circle"),
    "size": (VERMILION, "diamond"),
    "duplicate": (ORANGE, "square"),
    "conflicting_labels": (PURPLE, "triangle-up"),
    "limit": (GRAY, "cross"),
}

MOST_BARS_IN_ORDER = 40  # more classes are sorted by size: nobody looks for one by its name
MOST_SIZES = 30
MOST_NUMBERED_CLASSES = 20  # more cells are too small for a number
MOST_LABELLED_CLASSES = 60
MOST_MATRIX_CLASSES = 200  # of more, as many as can be labelled: a cell must be seen
MOST_LEGEND_CLASSES = 24
MOST_CLASS_CURVES = 24  # of precision and recall
MOST_POINTS_A_CURVE = 250
MOST_POINTS_A_MAP = 1500

# Pixels.
LETTER_WIDTH = 7
WIDEST_CELL = 44
WIDEST_MATRIX = 700


def class_balance(facts: Facts) -> Chart:
    """Images a class: kept, and on top of them those left out, by reason."""
    filtered = facts.metrics["filter"]
    kept = filtered["kept_per_class"]
    classes = facts.classes
    if len(classes) > MOST_BARS_IN_ORDER:
        classes = sorted(classes, key=lambda name: (-kept.get(name, 0), name))
    positions = list(range(len(classes)))
    figure = _figure(barmode="stack", bargap=0.25)
    for outcome, counts in {"kept": kept, **filtered["excluded_per_reason_and_class"]}.items():
        values = [counts.get(label, 0) for label in classes]
        if outcome != "kept" and not any(values):
            continue
        name, color, _ = _outcome(outcome)
        figure.add_bar(
            name=name,
            x=positions,
            y=values,
            marker={"color": color},
            customdata=[text(label) for label in classes],
            hovertemplate="%{customdata}: %{y:,} " + name + "<extra></extra>",
        )
    figure.update_layout(showlegend=len(figure.data) > 1)
    figure.update_xaxes(**_class_ticks(classes, at=positions), showgrid=False, title="class")
    figure.update_yaxes(title="images", rangemode="tozero")
    height = 460 if _tick_angle(classes) else 340
    return Chart("class-balance", "Images a class, kept and left out", figure, height)


def image_sizes(rows: Rows) -> Chart:
    """How many images have each size, and what became of them.

    Points on a log scale: one image of a size is seen beside thousands of another. Of very many
    sizes the rare ones are summed up in one row.
    """
    totals: Counter[str] = Counter()
    for row in rows:
        totals[row["size"]] += int(row["n_images"])
    sizes = [size for size, _ in totals.most_common(MOST_SIZES)]
    if n_others := len(totals) - len(sizes):
        sizes.append(f"{n_others:,} other{'s' if n_others > 1 else ''}")
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        size = row["size"] if row["size"] in sizes else sizes[-1]
        counts[row["outcome"]][size] += int(row["n_images"])
    figure = _figure()
    for outcome in sorted(counts, key=list(OUTCOMES).index):
        name, color, symbol = _outcome(outcome)
        found = {size: counts[outcome][size] for size in sizes if counts[outcome][size]}
        figure.add_scatter(
            name=name,
            y=list(found),
            x=list(found.values()),
            mode="markers+text",
            marker={"color": color, "symbol": symbol, "size": 9},
            text=[f" {number:,}" for number in found.values()],
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
    figure.update_layout(margin={"r": 7 * LETTER_WIDTH})
    height = 130 + LINE_HEIGHT * len(sizes)
    return Chart("image-sizes", "Images of each size, kept and left out", figure, height)


class _Curve(NamedTuple):
    """How a quantity is drawn over epochs."""

    words: str
    title: str  # of the axis
    hover: str  # a number's format
    axis: dict[str, str]


CURVES = {
    "loss": _Curve("Loss", "loss (log scale)", ".4f", {"type": "log"}),
    "micro_f1": _Curve("Micro F1 at a threshold of 0.5", "micro F1 at 0.5", ".3f", {}),
    "accuracy": _Curve("Accuracy", "accuracy", ".2%", {"tickformat": ".0%"}),
    "learning_rate": _Curve(
        "Learning rate at the beginning of an epoch,",
        "learning rate (log scale)",
        ".3g",
        {"type": "log", "exponentformat": "power"},
    ),
}


def learning_curves(facts: Facts, *, quantity: str) -> Chart:
    """All models' curves over epochs: train dashed, validation solid; of rates one.

    Args:
        facts: of the run.
        quantity: a key of `CURVES`.
    """
    curve = CURVES[quantity]
    if quantity == "accuracy" and facts.task == "multi":
        curve = curve._replace(
            words="Share of images with all labels right, at a threshold of 0.5,",
            title="all labels right at 0.5",
        )
    figure = _figure()
    for position, name in enumerate(facts.models):
        rows = [row for row in facts.history if row["model"] == name]
        for part, dash in (("train", "dash"), ("validation", "solid"), ("", "solid")):
            column = f"{part}_{quantity}".removeprefix("_")
            if not rows or column not in rows[0]:
                continue
            figure.add_scatter(
                name=text(name),
                legendgroup=name,
                showlegend=part != "train",
                x=[int(row["epoch"]) for row in rows],
                y=[float(row[column]) for row in rows],
                mode="lines" if part == "train" else "lines+markers",
                line={"color": _color(position), "dash": dash, "width": 1.8},
                marker={"symbol": _symbol(position), "size": 6},
                hovertemplate=f"%{{fullData.name}}, {part or 'rate'}, epoch %{{x}}: "
                f"%{{y:{curve.hover}}}<extra></extra>",
            )
    last = max((int(row["epoch"]) for row in facts.history), default=1)
    figure.update_xaxes(title="epoch", tick0=0, dtick=math.ceil(last / 8))
    figure.update_yaxes(title=curve.title, **curve.axis)
    height = 380 + LINE_HEIGHT * (len(facts.models) // 4)
    return Chart(f"curves-{quantity}", f"{curve.words} of every model over epochs", figure, height)


def scores_on_test(facts: Facts) -> Chart:
    """Each model's score on test images and the stack's, with 95 % intervals."""
    measure, names = facts.measure, [*facts.models, STACK]
    tested = [facts.metrics["test"][name] for name in names]
    figure = _scores(
        [text(name) for name in names],
        [entry[measure.key] for entry in tested],
        [entry[f"{measure.key}_ci95"] for entry in tested],
        colors=[BLUE] * len(facts.models) + [VERMILION],
        measure=measure,
    )
    label = f"{measure.words} of every model and the stack on test images"
    return Chart("test-scores", label, figure, 110 + 30 * len(names))


def scores_of_slices(facts: Facts, rows: Rows) -> Chart:
    """The stack's score on groups of test images, with 95 % intervals; dotted, on all of them.

    Args:
        facts: of the run.
        rows: of `slices.csv`, the kinds in one piece.
    """
    measure = facts.measure
    kinds = list(dict.fromkeys(row["slice"] for row in rows))
    figure = _scores(
        [text(f"{row['slice']}: {row['value'].replace('_', ' ')}") for row in rows],
        [float(row[measure.key]) for row in rows],
        [[float(row["low"]), float(row["high"])] for row in rows],
        colors=[_color(kinds.index(row["slice"])) for row in rows],
        measure=measure,
    )
    whole = facts.metrics["test"][STACK][measure.key]
    figure.add_vline(x=whole, line={"color": GRAY, "dash": "dot", "width": 1.2})
    label = f"{measure.words} of the stack on groups of test images"
    return Chart("slices", label, figure, 110 + 28 * len(rows))


def confusion_matrix(facts: Facts) -> Chart:
    """Actual against predicted classes of the stack; cells are shares of the actual class."""
    classes = confused_classes(facts)
    n_classes = len(classes)
    position = {name: i for i, name in enumerate(classes)}
    counts = np.zeros((n_classes, n_classes), int)
    support = np.zeros(n_classes, int)  # what is taken for a class that is not shown counts too
    for row in facts.confusion:
        actual, predicted = (position.get(row[key]) for key in ("actual", "predicted"))
        if actual is not None:
            support[actual] += 1
            if predicted is not None:
                counts[actual, predicted] += 1
    shares = counts / np.maximum(support, 1)[:, None]
    right = np.eye(n_classes, dtype=bool)
    numbered = n_classes <= MOST_NUMBERED_CLASSES
    figure = _figure(showlegend=False)
    for color, cells in ((BLUE, right), (VERMILION, ~right)):
        shown = cells & (counts > 0)
        figure.add_heatmap(
            # Numbers of cells that are not shown become null: neither drawn nor hovered over.
            z=np.where(shown, np.round(shares, 4), np.nan),
            customdata=counts,
            text=np.where(shown, counts.astype(str), "") if numbered else None,
            texttemplate="%{text}" if numbered else None,
            zmin=0,
            zmax=1,
            # The page's script mixes the weak end from the strong one and the background.
            colorscale=[[0, "white"], [1, color]],
            showscale=False,
            hoverongaps=False,
            xgap=1 if numbered else 0,
            ygap=1 if numbered else 0,
            hovertemplate="actual %{y}, predicted %{x}: %{customdata:,} images, "
            "%{z:.1%} of the class<extra></extra>",
        )
    # Plotly would take a class named 3 for a number and one named 2020-01 for a date.
    labels = [text(name) for name in classes]
    for heatmap in figure.data:
        heatmap.x, heatmap.y = labels, labels
    cell = min(WIDEST_CELL, WIDEST_MATRIX / n_classes)
    label_width = LETTER_WIDTH * max(len(_short(name)) for name in classes)
    ticks = _class_ticks(classes, at=labels)
    if label_width > cell:
        ticks["tickangle"] = -90
    axis = {"type": "category", "constrain": "domain", "showgrid": False, "zeroline": False}
    figure.update_xaxes(**axis, **ticks, constraintoward="left", title="predicted")
    figure.update_yaxes(**axis, **ticks, constraintoward="top", title="actual")
    figure.update_yaxes(tickangle=0, autorange="reversed", scaleanchor="x", scaleratio=1)
    side = round(cell * n_classes) + label_width + 60
    return Chart(
        "confusion",
        "Confusion matrix of the stack on test images",
        figure,
        side,
        min_width=0 if n_classes <= MOST_NUMBERED_CLASSES / 2 else min(side, 700),
        max_width=side + 40,
        orders={
            title: _class_order([classes[i] for i in order])
            for title, order in confusion_orders(counts, support=support).items()
        },
    )


def confused_classes(facts: Facts) -> list[str]:
    """The classes that a confusion matrix shows, in their order.

    All, or of very many those of the most frequent confusions: pairs of classes that are taken for
    one another, either way, until there is no room for more.
    """
    classes = facts.classes
    if len(classes) <= MOST_MATRIX_CLASSES:
        return classes
    pairs = Counter(
        tuple(sorted((row["actual"], row["predicted"])))
        for row in facts.confusion
        if row["actual"] != row["predicted"]
    )
    ranked = sorted(pairs, key=lambda pair: (-pairs[pair], pair))
    # Classes that are never confused come last.
    names = dict.fromkeys([name for pair in ranked for name in pair] + classes)
    shown = set(list(names)[:MOST_LABELLED_CLASSES])
    return [name for name in classes if name in shown]


def confusion_orders(counts: np.ndarray, *, support: np.ndarray) -> dict[str, list[int]]:
    """In which orders a confusion matrix is worth reading.

    Args:
        counts: int array (n_classes, n_classes), actual by predicted.
        support: int array (n_classes,): test images of each class, also those that are taken for
            a class which the matrix does not have.

    Returns:
        Title -> positions of the classes. Classes that are taken for one another come together
        by the order of leaves of their average linkage (Bar-Joseph et al. 2001).
    """
    n_classes = len(counts)
    shares = counts / np.maximum(support, 1)[:, None]
    right = np.where(support > 0, np.diag(shares), np.nan)  # NaN is sorted to the end
    orders = {
        "as listed": np.arange(n_classes),
        "worst first": np.argsort(right, kind="stable"),
        "most often answered first": np.argsort(-counts.sum(axis=0), kind="stable"),
    }
    if n_classes > 2:
        apart = 1 - (shares + shares.T) / 2
        np.fill_diagonal(apart, 0)
        tree = linkage(squareform(apart), method="average", optimal_ordering=True)
        orders["confused with one another together"] = leaves_list(tree)
    return {title: order.tolist() for title, order in orders.items()}


def _class_order(classes: Sequence[str]) -> dict[str, Any]:
    """What of a layout puts both axes of classes into this order, and shows all of them."""
    labels = [text(name) for name in classes]
    ticks = _class_ticks(classes, at=labels)
    change: dict[str, Any] = {"xaxis.autorange": True, "yaxis.autorange": "reversed"}
    for axis in ("xaxis", "yaxis"):
        change |= {
            f"{axis}.categoryorder": "array",
            f"{axis}.categoryarray": labels,
            f"{axis}.tickvals": ticks["tickvals"],
            f"{axis}.ticktext": ticks["ticktext"],
        }
    return change


def class_counts(rows: Rows) -> Chart:
    """Of several labels: how often each was found, missed and wrongly answered by the stack."""
    classes = [row["class"] for row in rows]
    if len(classes) > MOST_BARS_IN_ORDER:
        rows = sorted(rows, key=lambda row: -int(row["support"]))
        classes = [row["class"] for row in rows]
    positions = list(range(len(classes)))
    figure = _figure(barmode="stack", bargap=0.25)
    kinds = (
        ("found", "true_positives", BLUE),
        ("missed", "false_negatives", ORANGE),
        ("wrongly answered", "false_positives", VERMILION),
    )
    for name, key, color in kinds:
        figure.add_bar(
            name=name,
            x=positions,
            y=[int(row[key]) for row in rows],
            marker={"color": color},
            customdata=[text(label) for label in classes],
            hovertemplate="%{customdata}: %{y:,} " + name + "<extra></extra>",
        )
    figure.update_xaxes(**_class_ticks(classes, at=positions), showgrid=False, title="class")
    figure.update_yaxes(title="test images", rangemode="tozero")
    height = 460 if _tick_angle(classes) else 340
    label = "How often each class was found, missed and wrongly answered"
    return Chart("class-counts", label, figure, height)


def precision_recall(facts: Facts) -> Chart:
    """The stack's precision over recall: of all pairs in front, of classes to be switched on.

    Of very many classes those with the lowest average precision.
    """
    curves: dict[str, Rows] = defaultdict(list)
    micro = [row for row in facts.precision_recall if row["curve"] == "micro"]
    for row in facts.precision_recall:
        if row["curve"] == "class":
            curves[row["class"]].append(row)
    average = {row["class"]: float(row["average_precision"] or 0) for row in facts.per_class}
    shown = sorted(curves, key=lambda name: average[name])[:MOST_CLASS_CURVES]
    figure = _figure()
    for number, name in enumerate(facts.classes):
        if name in shown:
            _add_curve(figure, text(name), curves[name], color=_color(number + 1), width=1.4)
            figure.data[-1].visible = "legendonly"
    _add_curve(figure, "all pairs (micro)", micro, color=BLUE, width=3)
    counts = {
        key: sum(int(row[key]) for row in facts.per_class)
        for key in ("true_positives", "false_positives", "false_negatives")
    }
    n_right = counts["true_positives"]
    figure.add_scatter(
        name="as answered",
        x=[n_right / max(n_right + counts["false_negatives"], 1)],
        y=[n_right / max(n_right + counts["false_positives"], 1)],
        mode="markers",
        marker={"color": VERMILION, "symbol": "diamond", "size": 12},
        hovertemplate="as answered: precision %{y:.1%}, recall %{x:.1%}<extra></extra>",
    )
    figure.update_layout(legend={"traceorder": "reversed"})
    figure.update_xaxes(title="recall", range=[-0.02, 1.02], tickformat=".0%")
    figure.update_yaxes(title="precision", range=[-0.02, 1.05], tickformat=".0%")
    label = "Precision over recall of the stack on test images"
    return Chart("precision-recall", label, figure, 420 + LINE_HEIGHT * (len(shown) // 5))


def reliability(rows: Rows, *, task: str) -> Chart:
    """What came true against what was claimed by the stack, bin by bin.

    Args:
        rows: of `calibration.csv`.
        task: with one label an image (`single`) the top answers of images are binned, with several
            all pairs of image and class.
    """
    axes, things, came_true = ("probability of the answer", "share right"), "images", "right"
    if task == "multi":
        axes, things, came_true = ("probability of a class", "share that bear it"), "pairs", "borne"
    confidence = [float(row["confidence"]) for row in rows]
    accuracy = [float(row["accuracy"]) for row in rows]
    n_images = [int(row["n_images"]) for row in rows]
    ends = [
        accuracy_interval(round(share * n), n) for share, n in zip(accuracy, n_images, strict=True)
    ]
    figure = make_subplots(
        rows=2, cols=1, shared_xaxes=True, row_heights=[0.7, 0.3], vertical_spacing=0.09
    )
    figure.update_layout(**_layout(showlegend=False))
    figure.update_xaxes(zeroline=False)
    figure.update_yaxes(zeroline=False)
    figure.add_scatter(
        x=[0, 1],
        y=[0, 1],
        mode="lines",
        line={"color": GRAY, "dash": "dot", "width": 1.2},
        hoverinfo="skip",
        row=1,
        col=1,
    )
    figure.add_scatter(
        x=confidence,
        y=accuracy,
        mode="lines+markers",
        line={"color": BLUE, "width": 1.5},
        marker={"size": 8},
        error_y=_error_bars(accuracy, ends),
        customdata=n_images,
        hovertemplate=f"claimed %{{x:.1%}}, {came_true} %{{y:.1%}} of %{{customdata:,}} {things}"
        "<extra></extra>",
        row=1,
        col=1,
    )
    figure.add_bar(
        x=[(float(row["low"]) + float(row["high"])) / 2 for row in rows],
        width=[float(row["high"]) - float(row["low"]) for row in rows],
        y=n_images,
        text=[f"{n:,}" for n in n_images],
        textposition="outside",
        cliponaxis=False,
        marker={"color": BLUE, "opacity": 0.7},
        hovertemplate=f"%{{y:,}} {things}<extra></extra>",
        row=2,
        col=1,
    )
    figure.update_xaxes(range=[-0.02, 1.02], tickformat=".0%")
    figure.update_xaxes(title=axes[0], row=2, col=1)
    figure.update_yaxes(title=axes[1], range=[-0.03, 1.05], tickformat=".0%", row=1, col=1)
    figure.update_yaxes(title=things, row=2, col=1, rangemode="tozero", nticks=3)
    return Chart("reliability", "Reliability diagram of the stack", figure, 500)


def explained_variance(rows: Rows) -> Chart:
    """Share that the first k components hold, by variance and by singular values."""
    curves: dict[str, Rows] = defaultdict(list)
    for row in rows:
        curves[row["channel"]].append(row)
    colors = {"red": VERMILION, "green": GREEN, "blue": BLUE}
    if channels_are_equal(rows):
        curves, colors = {"all channels": next(iter(curves.values()))}, {"all channels": BLUE}
    rules = (("variance", "explained_variance_ratio", "solid"), ("singular values", None, "dash"))
    figure = _figure()
    for channel, points in curves.items():
        some = [points[i] for i in _spread(len(points), most=MOST_POINTS_A_CURVE)]
        for rule, column, dash in rules:
            figure.add_scatter(
                name=f"{text(channel)}, {rule}",
                x=[int(row["component"]) for row in some],
                y=[float(row[column or "singular_value_ratio"]) for row in some],
                mode="lines",
                line={"color": colors.get(channel, GRAY), "dash": dash, "width": 1.8},
                hovertemplate="%{fullData.name}: %{x} components hold %{y:.1%}<extra></extra>",
            )
    for share in (0.90, 0.95):
        figure.add_hline(y=share, line={"color": GRAY, "dash": "dot", "width": 1})
    figure.update_xaxes(title="components (log scale)", type="log", dtick=1)
    figure.update_yaxes(title="share held", range=[0, 1.02], tickformat=".0%")
    return Chart("pca", "Share of the variance that principal components hold", figure, 380)


def map_of_images(rows: Rows, *, space: str, positions: Mapping[str, int]) -> Chart:
    """A t-SNE map: every class its color and its symbol.

    Args:
        rows: of the chosen maps.
        space: pixels or features.
        positions: id -> where the page's list of thumbnails has it; others are left out.
    """
    groups: dict[str, Rows] = defaultdict(list)
    for row in rows:
        if row["space"] == space and row["id"] in positions:
            groups[row["label"]].append(row)
    figure = _figure()
    for number, label in enumerate(sorted(groups)):
        points = groups[label]
        figure.add_scatter(
            name=text(label),
            x=[float(row["x"]) for row in points],
            y=[float(row["y"]) for row in points],
            customdata=[positions[row["id"]] for row in points],
            mode="markers",
            marker={
                "color": _color(number),
                "symbol": _symbol(number),
                "size": 6,
                "opacity": 0.8,
            },
            hoverinfo="none",  # the page's script shows the image
        )
    axis = {"showticklabels": False, "zeroline": False, "title": None, "showgrid": False}
    figure.update_xaxes(**axis, showline=True, mirror=True)
    figure.update_yaxes(**axis, showline=True, mirror=True, scaleanchor="x", scaleratio=1)
    figure.update_layout(
        showlegend=len(groups) <= MOST_LEGEND_CLASSES, margin={"l": 10, "r": 10, "t": 10, "b": 10}
    )
    n_points = sum(map(len, groups.values()))
    label = f"t-SNE map of {count(n_points, 'training image')} by {space}"
    return Chart(f"map-{space}", label, figure, 460)


def mapped_images(rows: Rows) -> Rows:
    """The images that maps show: all, or as many as a page can bear, evenly chosen."""
    by_id = {row["id"]: row for row in rows}
    listed = list(by_id.values())
    step = max(1, math.ceil(len(listed) / MOST_POINTS_A_MAP))
    return listed[::step]


def channels_are_equal(rows: Rows) -> bool:
    """Whether all color channels have the same curve, as those of gray images have."""
    curves: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        curves[row["channel"]].append(row["explained_variance_ratio"])
    return len(set(map(tuple, curves.values()))) <= 1


def _scores(
    names: Sequence[str],
    values: Sequence[float],
    intervals: Sequence[Sequence[float]],
    *,
    colors: Sequence[str],
    measure: Measure,
) -> go.Figure:
    """Points with 95 % intervals, one below the other."""
    number = ".2%" if measure.key == "accuracy" else ".3f"
    figure = _figure(showlegend=False)
    figure.add_scatter(
        x=values,
        y=names,
        mode="markers",
        marker={"color": colors, "size": 10},
        error_x=_error_bars(values, intervals),
        customdata=intervals,
        hovertemplate=f"%{{y}}: %{{x:{number}}} (%{{customdata[0]:{number}}} to "
        f"%{{customdata[1]:{number}}})<extra></extra>",
    )
    tick = ".1%" if measure.key == "accuracy" else ".2f"
    figure.update_xaxes(title=f"{measure.words} on test images", tickformat=tick)
    figure.update_yaxes(type="category", autorange="reversed")
    return figure


def _add_curve(figure: go.Figure, name: str, rows: Rows, *, color: str, width: float) -> None:
    figure.add_scatter(
        name=name,
        x=[float(row["recall"]) for row in rows],
        y=[float(row["precision"]) for row in rows],
        customdata=[float(row["threshold"]) for row in rows],
        mode="lines",
        line={"color": color, "width": width},
        hovertemplate="%{fullData.name} at %{customdata:.3f}: precision %{y:.1%}, "
        "recall %{x:.1%}<extra></extra>",
    )


def _error_bars(values: Sequence[float], intervals: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Plotly's lines from the low to the high end of each value's interval."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [high - value for (_, high), value in zip(intervals, values, strict=True)],
        "arrayminus": [value - low for (low, _), value in zip(intervals, values, strict=True)],
        "color": GRAY,
        "thickness": 1.5,
    }


def _class_ticks(classes: Sequence[str], *, at: Sequence[int | str]) -> dict[str, Any]:
    """Ticks of an axis of classes; of many classes only some are named.

    Args:
        classes: their names.
        at: where the axis has them.
    """
    step = math.ceil(len(classes) / MOST_LABELLED_CLASSES)
    shown = list(range(0, len(classes), step))
    return {
        "tickmode": "array",
        "tickvals": [at[i] for i in shown],
        "ticktext": [text(_short(classes[i])) for i in shown],
        "tickangle": _tick_angle(classes),
    }


def _tick_angle(classes: Sequence[str]) -> int:
    """Upright labels where they would run into each other."""
    crowded = len(classes) > 12 or sum(len(_short(name)) for name in classes) > 60
    return -90 if crowded else 0


def _short(name: str) -> str:
    return name if len(name) <= 22 else f"{name[:20]}…"


def _outcome(name: str) -> tuple[str, str, str]:
    """What to call an outcome of the filter, its color and its symbol."""
    color, symbol = OUTCOMES[name]
    return text(name.replace("_", " ")), color, symbol


def _spread(n_points: int, *, most: int) -> list[int]:
    """At most `most` positions, closer together at the start, where a log axis is wide."""
    return sorted({round(value) - 1 for value in np.geomspace(1, n_points, most)})


def _color(position: int) -> str:
    return COLORS[position % len(COLORS)]


def _symbol(position: int) -> str:
    return SYMBOLS[position % len(SYMBOLS)]
