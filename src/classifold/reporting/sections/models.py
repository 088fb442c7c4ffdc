"""Section "Models": scores, training and learning curves of every model."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from classifold.data.predictions import MAJORITY, STACK
from classifold.evaluation.outcomes import describe_absent_classes
from classifold.pictures.glyphs import shorten
from classifold.pictures.palette import BLUE, VERMILION
from classifold.reporting.facts import Facts
from classifold.reporting.figures import (
    LINE_HEIGHT,
    LOG_AXIS,
    PERCENT_AXIS,
    Chart,
    new_figure,
    nth_color,
    nth_symbol,
    text,
)
from classifold.reporting.formats import NOT_AVAILABLE, capitalize_first, count, decimal, duration
from classifold.reporting.sections.score_chart import score_points
from classifold.reporting.sections.seeds import draw_seeds, seeds
from classifold.reporting.sections.summary import format_baseline_classes
from classifold.reporting.tables import (
    Cell,
    Column,
    Table,
    decimal_cell,
    difference_cell,
    difference_column,
    name_cell,
    number_cell,
    percent_cell,
    score_cell,
)
from classifold.reporting.weights import weights_table

MAX_BASELINE_CHARACTERS = 60  # length of the list of classes that the baseline predicts


class _Curve(NamedTuple):
    """How to draw a quantity over epochs."""

    name: str
    title: str  # title of the axis
    hover: str  # format of a number
    axis: dict[str, str]
    factor: int = 1


CURVES = {
    "loss": _Curve("loss", "loss (log scale)", ".4f", LOG_AXIS),
    "micro_f1": _Curve("micro F1 at threshold 0.5", "micro F1 at threshold 0.5", ".3f", {}),
    "accuracy": _Curve("accuracy", "accuracy", ".2f", PERCENT_AXIS, factor=100),
    "learning_rate": _Curve(
        "learning rate at the start of the epoch",
        "learning rate (log scale)",
        ".3g",
        LOG_AXIS,
    ),
}


def models_section(facts: Facts) -> dict[str, Any]:
    """Collect what the template of this section shows."""
    return {
        "models": models_table(facts),
        "other_scores": other_scores_table(facts) if facts.n_test else None,
        "training": training_table(facts),
        "seeds": seeds(facts),
        "published": weights_table(facts.weights),
        "test_scores": scores_on_test(facts) if facts.n_test else None,
        "curves": [
            learning_curves(facts, quantity=quantity)
            for quantity in CURVES
            if len({row["epoch"] for row in facts.history}) > 1  # probes have one epoch
            and any(name.endswith(quantity) for name in facts.history[0])
        ],
    }


def models_table(facts: Facts) -> Table:
    """Tabulate the scores of every model, the stack and the majority baseline."""
    metric = facts.main_metric
    multi = facts.task == "multi"
    train = f"train, {facts.metrics['augment']['n_source']:,}"
    validation = f"val., {facts.metrics['split']['n_validation']:,}"
    test = f"test, {facts.n_test:,}"
    half = " at 0.5" if multi else ""
    columns = [Column("model", subtitle="network")]
    columns += [
        Column(metric.name, numeric=True, subtitle=f"{split}{half}")
        for split in (train, validation)
    ]
    if multi:
        hint = "at the threshold that maximizes micro F1 on these same images"
        columns.append(
            Column(metric.name, numeric=True, subtitle=f"{validation} fitted", hint=hint)
        )
    if not facts.n_test:
        columns.append(
            difference_column("gap", metric, hint="training score minus validation score")
        )
    else:
        at = ", both at threshold 0.5" if multi else ""
        columns += [
            Column(metric.name, numeric=True, subtitle=test, hint="with its 95 % interval"),
            difference_column("train − test", metric, hint=f"training score minus test score{at}"),
            difference_column("val. − test", metric, hint=f"validation score minus test score{at}"),
            difference_column(
                "difference to the stack",
                metric,
                hint="on the same test images, with its 95 % interval",
            ),
            *(
                []
                if multi
                else [
                    Column(
                        "p-value", numeric=True, hint="of the exact McNemar test against the stack"
                    )
                ]
            ),
            Column(
                "untrained",
                numeric=True,
                subtitle=f"test{half}",
                hint="the same network with its initial weights",
            ),
        ]
    return Table(
        f"{capitalize_first(metric.name)} of every model, the stack and the majority baseline",
        columns,
        [_model_row(facts, name) for name in [*facts.models, STACK, MAJORITY]],
        highlighted=frozenset({STACK}),
    )


def other_scores_table(facts: Facts) -> Table:
    """Tabulate the other scores on test images."""
    # Key in metrics/test.json -> title and subtitle of its column.
    keys = {"macro_f1": ("macro F1", "over all classes")}
    absent_classes = describe_absent_classes(facts.metrics["test"][STACK])
    if absent_classes:
        keys |= {"macro_f1_present": ("macro F1", "over classes with test images")}
    if facts.task == "single":
        n_classes = facts.metrics["ingest"]["n_classes"]
        keys |= {f"top{k}_accuracy": (f"top-{k} accuracy", "") for k in (3, 5) if k < n_classes}
    else:
        keys |= {
            "subset_accuracy": ("subset accuracy", "all labels correct"),
            "mean_average_precision": ("average precision", "mean over classes"),
            "hamming_loss": ("Hamming loss", ""),
            "micro_f1_at_half": ("micro F1", "at threshold 0.5"),
            "micro_f1_at_class_thresholds": ("micro F1", "one threshold per class"),
        }
    keys |= {
        "log_loss": ("log loss", ""),
        "calibration_error": ("calibration error", "temperature-scaled"),
        "calibration_error_uncalibrated": ("calibration error", "uncalibrated"),
    }
    columns = [
        Column("model"),
        *(Column(title, numeric=True, subtitle=subtitle) for title, subtitle in keys.values()),
    ]
    rows = [
        [name_cell(name), *(_test_cell(facts.metrics["test"][name], key) for key in keys)]
        for name in [*facts.models, STACK, MAJORITY]
    ]
    caption = f"Other scores on {count(facts.n_test, 'test image')}"
    if absent_classes:
        caption += f". Macro F1: {absent_classes}"
    return Table(caption, columns, rows, highlighted=frozenset({STACK}))


def training_table(facts: Facts) -> Table:
    """Tabulate the size of each model, its training time and its best epoch."""
    metric = facts.main_metric
    columns = [
        Column("model"),
        Column("parameters", numeric=True),
        Column("training time", numeric=True),
        Column("best epoch", numeric=True),
        difference_column("train − val.", metric, hint="training score minus validation score"),
    ]
    rows = []
    for name in facts.models:
        trained, seconds = facts.metrics["models"][name], facts.seconds.get(f"train/{name}")
        gap = trained[f"train_{metric.key}"] - trained[f"validation_{metric.key}"]
        rows.append(
            [
                name_cell(name),
                number_cell(trained["n_parameters"]),
                Cell(duration(seconds), seconds),
                Cell(
                    str(trained["best_epoch"]), trained["best_epoch"], f"of {trained['n_epochs']}"
                ),
                difference_cell(metric, gap),
            ]
        )
    return Table("Size and training time of every model", columns, rows)


def learning_curves(facts: Facts, *, quantity: str) -> Chart:
    """Draw a quantity of every model over epochs: training dashed, validation solid.

    Args:
        facts: settings and results of the run.
        quantity: a key of `CURVES`.
    """
    curve = CURVES[quantity]
    if quantity == "accuracy" and facts.task == "multi":
        curve = curve._replace(
            name="subset accuracy at threshold 0.5",
            title="subset accuracy at threshold 0.5",
        )
    figure = new_figure()
    for position, name in enumerate(facts.models):
        rows = [row for row in facts.history if row["model"] == name]
        for split, dash in (("train", "dash"), ("validation", "solid"), ("", "solid")):
            column = f"{split}_{quantity}".removeprefix("_")
            if not rows or column not in rows[0]:
                continue
            figure.add_scatter(
                name=text(name),
                legendgroup=name,
                showlegend=split != "train",
                x=[int(row["epoch"]) for row in rows],
                y=[curve.factor * float(row[column]) for row in rows],
                mode="lines" if split == "train" else "lines+markers",
                line={"color": nth_color(position), "dash": dash, "width": 1.8},
                marker={"symbol": nth_symbol(position), "size": 6},
                hovertemplate=f"%{{fullData.name}}, {split or 'learning rate'}, epoch %{{x}}: "
                f"%{{y:{curve.hover}}}{curve.axis.get('ticksuffix', '')}<extra></extra>",
            )
    last = max((int(row["epoch"]) for row in facts.history), default=1)
    figure.update_xaxes(title="epoch", tick0=0, dtick=math.ceil(last / 8))
    figure.update_yaxes(title=curve.title, **curve.axis)
    height = 380 + LINE_HEIGHT * (len(facts.models) // 4)
    return Chart(
        f"curves-{quantity}",
        f"{capitalize_first(curve.name)} of every model over epochs",
        figure,
        height,
    )


def scores_on_test(facts: Facts) -> Chart:
    """Draw the score of each model and the stack on test images, with 95 % intervals."""
    metric, names = facts.main_metric, [*facts.models, STACK]
    tested = [facts.metrics["test"][name] for name in names]
    figure = score_points(
        [text(name) for name in names],
        [entry[metric.key] for entry in tested],
        [entry[f"{metric.key}_ci95"] for entry in tested],
        colors=[BLUE] * len(facts.models) + [VERMILION],
        metric=metric,
    )
    draw_seeds(figure, facts)
    label = f"{capitalize_first(metric.name)} of every model and the stack on test images"
    return Chart("test-scores", label, figure, 110 + 30 * len(names))


def _model_row(facts: Facts, name: str) -> list[Cell]:
    """A row of `models_table`."""
    metric, multi = facts.main_metric, facts.task == "multi"
    trained, tested = facts.metrics["models"].get(name, {}), facts.metrics["test"][name]
    train = trained.get(f"train_{metric.key}")
    validation = trained.get(f"validation_{metric.key}")
    cells = [name_cell(name, _network(facts, name))]
    if not multi:
        if name == STACK:
            validation = facts.metrics["stack"][f"validation_{metric.key}"]
        cells += [
            score_cell(metric, train),
            score_cell(metric, validation, note="cross-fitted" if name == STACK else ""),
        ]
    elif name == STACK:
        fitted = facts.metrics["stack"][f"validation_{metric.key}"]
        cells += [
            Cell(NOT_AVAILABLE),
            Cell(NOT_AVAILABLE),
            score_cell(metric, fitted, note="cross-fitted"),
        ]
    elif name == MAJORITY:
        # Its predictions are the same at every threshold.
        cells += [score_cell(metric, score) for score in (train, validation, validation)]
    else:
        note = f"at threshold {trained['threshold']:.2f}"
        fitted = trained["micro_f1_at_threshold"]
        cells += [score_cell(metric, score) for score in (train, validation)]
        cells.append(score_cell(metric, fitted, note=note))
    if not facts.n_test:
        gap = None if train is None else train - validation
        return [*cells, difference_cell(metric, gap)]
    n_images = facts.n_test
    note = metric.interval(tested[f"{metric.key}_ci95"], n_images=n_images)
    cells.append(score_cell(metric, tested[metric.key], n_images=n_images, note=note))
    cells += [
        difference_cell(metric, tested[key]) for key in ("train_test_gap", "validation_test_gap")
    ]
    versus = tested.get("versus_stack")
    if versus is None:
        cells += [Cell(NOT_AVAILABLE)] * (1 if multi else 2)
    else:
        note = metric.differences(versus["difference_ci95"])
        cells.append(difference_cell(metric, versus["difference"], note=note))
        if not multi:
            p_value = versus["p_value"]
            cells.append(Cell("< 0.001" if p_value < 0.001 else f"{p_value:.3f}", p_value))
    return [*cells, score_cell(metric, tested.get(f"untrained_{metric.key}"))]


def _network(facts: Facts, name: str) -> str:
    """Name the network of a model, for the line below its name."""
    if name == STACK:
        stack = facts.metrics["stack"]
        return f"{stack['method']} over {count(stack['n_members'], 'model')}"
    if name == MAJORITY:
        predicted = format_baseline_classes(facts.metrics["models"][MAJORITY])
        return f"always {shorten(predicted, MAX_BASELINE_CHARACTERS)}"
    return str(facts.params["models"][name]["network"])


def _test_cell(tested: Mapping[str, Any], key: str) -> Cell:
    """Build a cell of a score in `metrics/test.json`, with its interval if it has one."""
    value, ends = tested[key], tested.get(f"{key}_ci95")
    if key.endswith("accuracy"):
        return percent_cell(value, n_images=tested["n_images"])
    note = "" if ends is None else f"{decimal(ends[0])} to {decimal(ends[1])}"
    return decimal_cell(value, note=note)
