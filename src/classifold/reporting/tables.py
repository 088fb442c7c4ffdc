"""The tables of the page: text to read, and values to sort by."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from classifold.reporting.facts import MAJORITY, STACK, Facts, Rows
from classifold.reporting.measures import (
    NOTHING,
    Measure,
    count,
    decimal,
    duration,
    percent,
)
from classifold.reporting.wording import constant_answer

MOST_CONFUSIONS = 12
MOST_ANSWERED = 60  # letters of what the baseline answers
PARTS = ("train", "validation", "test")

# Kinds of conversions.csv -> how an image came, and what was done to it.
UNTOUCHED = "8-bit RGB"
CONVERSIONS = {
    UNTOUCHED: ("8-bit RGB", "colors kept as they were"),
    "grayscale": ("grayscale", "the same gray in all three channels"),
    "palette": ("palette", "each color looked up"),
    "alpha": ("transparent", "laid on the background {background} (red, green, blue)"),
    "cmyk": ("CMYK", "converted to RGB"),
    "deep": ("deep", "brought down to 8 bits a channel"),
    "turned upright": ("turned", "set upright, as EXIF says"),
    "animated": ("animated", "the first frame taken"),
}


class Column(NamedTuple):
    """A head of a column."""

    title: str
    numeric: bool = False
    subtitle: str = ""  # on which images it was measured
    hint: str = ""  # what it is, where the title does not say


class Cell(NamedTuple):
    """What stands in a cell; all text as it came, unescaped."""

    text: str
    value: float | str | None = None  # to sort by; None comes last
    note: str = ""


class Table(NamedTuple):
    """A table that a click on a head sorts."""

    caption: str
    columns: list[Column]
    rows: list[list[Cell]]
    highlighted: frozenset[str] = frozenset()  # first cells of rows that stand out


def models_table(facts: Facts) -> Table:
    """The scores that models are compared by; the stack and the majority baseline among them."""
    measure = facts.measure
    several = facts.task == "multi"
    train = f"train, {facts.metrics['augment']['n_source']:,}"
    validation = f"val., {facts.metrics['split']['n_validation']:,}"
    test = f"test, {facts.n_test:,}"
    half = " at 0.5" if several else ""
    columns = [Column("model", subtitle="network")]
    columns += [
        Column(measure.words, numeric=True, subtitle=f"{split}{half}")
        for split in (train, validation)
    ]
    if several:
        hint = "at the threshold with the highest micro F1 on these very images"
        columns.append(
            Column(measure.words, numeric=True, subtitle=f"{validation} fitted", hint=hint)
        )
    if not facts.n_test:
        columns.append(_difference_column("gap", measure, "train minus validation"))
    else:
        at = "; a model's at 0.5 in both" if several else ""
        columns += [
            Column(measure.words, numeric=True, subtitle=test, hint="with its 95 % interval"),
            _difference_column("train–test", measure, f"train minus test score{at}"),
            _difference_column("val.–test", measure, f"validation minus test score{at}"),
            _difference_column(
                "difference to the stack",
                measure,
                "on the same test images, with its 95 % interval",
            ),
            *([] if several else [Column("p", numeric=True, hint="exact McNemar test")]),
            Column(
                "untrained",
                numeric=True,
                subtitle=f"test{half}",
                hint="the same network with its first weights",
            ),
        ]
    return Table(
        f"Every model, the stack and the majority baseline by {measure.words}",
        columns,
        [_model_row(facts, name) for name in [*facts.models, STACK, MAJORITY]],
        highlighted=frozenset({STACK}),
    )


def other_scores_table(facts: Facts) -> Table:
    """What else was measured on test images."""
    # Key in metrics/test.json -> title, and what stands below it.
    keys = {"macro_f1": ("macro F1", "")}
    if facts.task == "single":
        keys |= {"top3_accuracy": ("top-3", "accuracy"), "top5_accuracy": ("top-5", "accuracy")}
    else:
        keys |= {
            "subset_accuracy": ("all right", "share of images"),
            "mean_average_precision": ("av. precision", "mean over classes"),
            "hamming_loss": ("Hamming", "loss"),
            "micro_f1_at_half": ("micro F1", "at 0.5"),
            "micro_f1_at_class_thresholds": ("micro F1", "a threshold a class"),
        }
    keys |= {
        "log_loss": ("log loss", ""),
        "calibration_error": ("cal. error", "after temperature"),
        "calibration_error_uncalibrated": ("cal. error", "before"),
    }
    columns = [
        Column("model"),
        *(Column(title, numeric=True, subtitle=split) for title, split in keys.values()),
    ]
    rows = [
        [_name(name), *(_test_cell(facts.metrics["test"][name], key) for key in keys)]
        for name in [*facts.models, STACK, MAJORITY]
    ]
    caption = f"Other scores on {count(facts.n_test, 'test image')}"
    return Table(caption, columns, rows, highlighted=frozenset({STACK}))


def trainings_table(facts: Facts) -> Table:
    """Size of each model, and what its training took."""
    measure = facts.measure
    columns = [
        Column("model"),
        Column("parameters", numeric=True),
        Column("time", numeric=True, subtitle="of training"),
        Column("epoch", numeric=True, subtitle="best, of"),
        _difference_column("train–val.", measure, "train minus validation score"),
    ]
    rows = []
    for name in facts.models:
        trained, seconds = facts.metrics["models"][name], facts.seconds.get(f"train/{name}")
        gap = trained[f"train_{measure.key}"] - trained[f"validation_{measure.key}"]
        rows.append(
            [
                _name(name),
                _number(trained["n_parameters"]),
                Cell(duration(seconds), seconds),
                Cell(
                    str(trained["best_epoch"]), trained["best_epoch"], f"of {trained['n_epochs']}"
                ),
                Cell(measure.difference(gap), gap),
            ]
        )
    return Table("Size and training of every model", columns, rows)


def member_weights_table(stack: Mapping[str, Any]) -> Table:
    """Each member's share in the stack, where it has one; else empty."""
    shares = stack.get("weights", {})
    if len(shares) == 1:
        shares = {}
    rows = [
        [Cell(name, name), _share(share)]
        for name, share in sorted(shares.items(), key=lambda item: -item[1])
    ]
    columns = [Column("member"), Column("share", numeric=True)]
    return Table("Weights of the members", columns, rows)


def conversions_table(facts: Facts) -> Table:
    """How images came, and what was done to them; empty if nothing was."""
    columns = [Column("as they came"), Column("images", numeric=True), Column("what was done")]
    background = ", ".join(map(str, facts.params["ingest"]["background"]))
    rows = []
    for row in facts.conversions:
        if not int(row["n_images"]):
            continue
        came, done = CONVERSIONS.get(row["kind"], (row["kind"], "converted to RGB"))
        done = done.format(background=background)
        rows.append([Cell(came, came), _number(int(row["n_images"])), Cell(done, done)])
    untouched = all(row["kind"] == UNTOUCHED for row in facts.conversions)
    caption = "How images came, and what was done to them; one may be in two rows"
    return Table(caption, columns, [] if untouched else rows)


def split_table(split_metrics: Mapping[str, Any]) -> Table:
    """Images of each part."""
    total = sum(split_metrics[f"n_{split}"] for split in PARTS)
    rows = [
        [
            Cell(split, split),
            _number(split_metrics[f"n_{split}"]),
            _share(split_metrics[f"n_{split}"] / max(total, 1), n_images=total),
        ]
        for split in PARTS
    ]
    columns = [Column("split"), Column("images", numeric=True), Column("share", numeric=True)]
    return Table("Images of each part", columns, rows)


def class_proportions_table(split_metrics: Mapping[str, Any], classes: Sequence[str]) -> Table:
    """Share of each class in each part, and the gap between the largest and the smallest."""
    splits = [split for split in PARTS if split_metrics["class_proportions"].get(split)]
    rows = []
    for name in classes:
        shares = [split_metrics["class_proportions"][split].get(name, 0.0) for split in splits]
        gap = max(shares) - min(shares)
        rows.append(
            [
                Cell(name, name),
                *(
                    _share(share, n_images=split_metrics[f"n_{split}"])
                    for share, split in zip(shares, splits, strict=True)
                ),
                Cell(f"{gap * 100:.2f}", gap),
            ]
        )
    columns = [
        Column("class"),
        *(
            Column(split, numeric=True, subtitle=f"{split_metrics[f'n_{split}']:,} images")
            for split in splits
        ),
        Column("gap", numeric=True, subtitle="points"),
    ]
    return Table("Share of each class in each part", columns, rows)


def lowest(rows: Rows, *, most: int) -> Rows:
    """The classes with the lowest F1 below 1, the lowest first; of equals with more images."""
    wanting = [row for row in rows if float(row["f1"]) < 1]
    return sorted(wanting, key=lambda row: (float(row["f1"]), -int(row["support"])))[:most]


def compared_slices(rows: Rows) -> Rows:
    """Those of `slices.csv` that are one of several groups; the only group says nothing new."""
    kinds = Counter(row["slice"] for row in rows)
    return [row for row in rows if kinds[row["slice"]] > 1]


def per_class_table(rows: Rows, *, caption: str) -> Table:
    """Precision, recall, F1 and support; of several labels average precision and threshold too.

    Args:
        rows: of `per_class.csv`.
        caption: of the table.
    """
    titles = {"precision": "precision", "recall": "recall", "f1": "F1"}
    if rows and "average_precision" in rows[0]:
        titles |= {"average_precision": "av. precision", "class_threshold": "own threshold"}
    columns = [
        Column("class"),
        *(Column(title, numeric=True) for title in titles.values()),
        Column("support", numeric=True, subtitle="test images"),
    ]
    body = [
        [
            Cell(row["class"], row["class"]),
            *(_decimal(float(row[name]) if row[name] else None) for name in titles),
            _number(int(row["support"])),
        ]
        for row in rows
    ]
    return Table(caption, columns, body)


def counts_table(rows: Rows) -> Table:
    """How often each of several labels was answered, rightly and wrongly."""
    titles = {
        "true_positives": "found",
        "false_negatives": "missed",
        "false_positives": "wrongly answered",
        "true_negatives": "rightly not answered",
    }
    columns = [Column("class"), *(Column(title, numeric=True) for title in titles.values())]
    body = [
        [Cell(row["class"], row["class"]), *(_number(int(row[key])) for key in titles)]
        for row in rows
    ]
    return Table("Answers of the stack on test images, counted class by class", columns, body)


def slices_table(rows: Rows, measure: Measure) -> Table:
    """The stack's score by group of test images."""
    columns = [
        Column("by"),
        Column("group"),
        Column("images", numeric=True),
        Column(measure.words, numeric=True),
        Column("95 % interval", numeric=True),
    ]
    body = []
    for row in rows:
        score, low, high = (float(row[key]) for key in (measure.key, "low", "high"))
        body.append(
            [
                Cell(row["slice"], row["slice"]),
                Cell(row["value"].replace("_", " "), row["value"]),
                _number(int(row["n_images"])),
                Cell(measure.score(score), score),
                Cell(measure.interval([low, high]), low),
            ]
        )
    return Table("The stack on groups of test images", columns, body)


def confusions_table(confusion: Rows) -> Table:
    """The most frequent mistakes."""
    counts = Counter((row["actual"], row["predicted"]) for row in confusion)
    totals = Counter(row["actual"] for row in confusion)
    wrong = [(pair, number) for pair, number in counts.items() if pair[0] != pair[1]]
    wrong.sort(key=lambda item: (-item[1], item[0]))
    columns = [
        Column("actual"),
        Column("predicted"),
        Column("images", numeric=True),
        Column("share of the class", numeric=True),
    ]
    rows = [
        [
            Cell(actual, actual),
            Cell(predicted, predicted),
            _number(number),
            Cell(
                percent(number / totals[actual]),
                number / totals[actual],
                f"of {totals[actual]:,}",
            ),
        ]
        for (actual, predicted), number in wrong[:MOST_CONFUSIONS]
    ]
    return Table("The most frequent confusions of the stack on test images", columns, rows)


def components_table(found: Mapping[str, Any], *, n_features: int) -> Table:
    """How many of `n_features` components hold 90 and 95 %, by both rules."""
    keys = [
        f"components_{share}_{rule}"
        for rule in ("variance", "singular_values")
        for share in (90, 95)
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
        [Cell(channel, channel), *(_number(found[channel][key]) for key in keys)]
        for channel in ("red", "green", "blue")
    ]
    return Table(f"Components needed, of {n_features:,}", columns, rows)


def perplexities_table(tsne: Mapping[str, Any]) -> Table:
    """Every map tried, the chosen ones marked."""
    columns = [
        Column("space"),
        Column("perplexity", numeric=True),
        Column("trustworthiness", numeric=True),
        Column("KL divergence", numeric=True),
        Column("chosen"),
    ]
    rows = []
    for space in ("pixels", "features"):
        for perplexity, tried in tsne[space]["tried"].items():
            chosen = "chosen" if float(perplexity) == tsne[space]["perplexity"] else ""
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
    return Table("t-SNE maps tried", columns, rows)


def timings_table(seconds: Mapping[str, float]) -> Table:
    """Time of every stage."""
    columns = [Column("stage"), Column("time", numeric=True)]
    rows = [
        [Cell(name.replace("/", "@"), name), Cell(duration(value), value)]
        for name, value in seconds.items()
    ]
    return Table("Time of each stage", columns, rows)


def plain_table(caption: str, titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table of text alone."""
    columns = [Column(title) for title in titles]
    return Table(caption, columns, [[Cell(item, item) for item in row] for row in rows])


def _model_row(facts: Facts, name: str) -> list[Cell]:
    """A row of `models_table`."""
    measure, several = facts.measure, facts.task == "multi"
    trained, tested = facts.metrics["models"].get(name, {}), facts.metrics["test"][name]
    train = trained.get(f"train_{measure.key}")
    validation = trained.get(f"validation_{measure.key}")
    cells = [_name(name, _network(facts, name))]
    if not several:
        if name == STACK:
            validation = facts.metrics["stack"][f"validation_{measure.key}"]
        cells += [
            _scored(measure, train),
            _scored(measure, validation, note="cross-fitted" if name == STACK else ""),
        ]
    elif name == STACK:
        fitted = facts.metrics["stack"][f"validation_{measure.key}"]
        cells += [Cell(NOTHING), Cell(NOTHING), _scored(measure, fitted, note="cross-fitted")]
    elif name == MAJORITY:
        # It answers the same whatever the threshold.
        cells += [_scored(measure, score) for score in (train, validation, validation)]
    else:
        note = f"at {trained['threshold']:.2f}"
        fitted = trained["micro_f1_at_threshold"]
        cells += [_scored(measure, score) for score in (train, validation)]
        cells.append(_scored(measure, fitted, note=note))
    if not facts.n_test:
        gap = None if train is None else train - validation
        return [*cells, Cell(measure.difference(gap), gap)]
    n_images = facts.n_test
    note = measure.interval(tested[f"{measure.key}_ci95"], n_images=n_images)
    cells.append(_scored(measure, tested[measure.key], n_images=n_images, note=note))
    cells += [
        Cell(measure.difference(tested[key]), tested[key])
        for key in ("train_test_gap", "validation_test_gap")
    ]
    versus = tested.get("versus_stack")
    if versus is None:
        cells += [Cell(NOTHING)] * (1 if several else 2)
    else:
        note = measure.differences(versus["difference_ci95"])
        cells.append(Cell(measure.difference(versus["difference"]), versus["difference"], note))
        if not several:
            p_value = versus["p_value"]
            cells.append(Cell("< 0.001" if p_value < 0.001 else f"{p_value:.3f}", p_value))
    return [*cells, _scored(measure, tested.get(f"untrained_{measure.key}"))]


def _network(facts: Facts, name: str) -> str:
    """What stands below a model's name."""
    if name == STACK:
        stack = facts.metrics["stack"]
        return f"{stack['method']} over {count(stack['n_members'], 'model')}"
    if name == MAJORITY:
        answered = constant_answer(facts.metrics["models"][MAJORITY])
        if len(answered) > MOST_ANSWERED:
            answered = f"{answered[: MOST_ANSWERED - 1]}…"
        return f"always {answered}"
    return str(facts.params["models"][name]["network"])


def _name(name: str, note: str = "") -> Cell:
    return Cell(name.replace("_", " ") if name == MAJORITY else name, name, note)


def _difference_column(title: str, measure: Measure, hint: str) -> Column:
    return Column(title, numeric=True, subtitle=measure.unit, hint=hint)


def _test_cell(tested: Mapping[str, Any], key: str) -> Cell:
    """A score of `metrics/test.json`, with its interval if it has one."""
    value, ends = tested[key], tested.get(f"{key}_ci95")
    if key.endswith("accuracy"):
        return _share(value, n_images=tested["n_images"])
    note = "" if ends is None else f"{decimal(ends[0])} to {decimal(ends[1])}"
    return _decimal(value, note=note)


def _scored(measure: Measure, score: float | None, *, n_images: int = 0, note: str = "") -> Cell:
    return Cell(measure.score(score, n_images=n_images), score, note)


def _decimal(value: float | None, *, note: str = "") -> Cell:
    return Cell(decimal(value), value, note)


def _share(share: float | None, *, n_images: int = 0, note: str = "") -> Cell:
    return Cell(percent(share, n_images=n_images), share, note)


def _number(number: int | None) -> Cell:
    return Cell(NOTHING) if number is None else Cell(f"{number:,}", number)
