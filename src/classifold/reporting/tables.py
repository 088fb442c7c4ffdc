"""The tables of the page: text to read, and values to sort by."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from classifold.reporting.facts import MAJORITY, STACK, Facts, Rows
from classifold.reporting.wording import NOTHING, count, decimal, duration, interval, percent

MOST_CONFUSIONS = 12
PARTS = ("train", "validation", "test")

# Kinds of conversions.csv -> how an image came, and what was done to it.
UNTOUCHED = "8-bit RGB"
CONVERSIONS = {
    UNTOUCHED: ("8-bit RGB", "colours kept as they were"),
    "grayscale": ("grayscale", "the same gray in all three channels"),
    "palette": ("palette", "each colour looked up"),
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
    part: str = ""  # on which images it was measured
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
    """One row a model, and the majority baseline and the stack among them."""
    n_validation, n_test = facts.metrics["split"]["n_validation"], facts.n_test
    train = f"train, {facts.metrics['augment']['n_source']:,}"
    validation = f"val., {n_validation:,}"
    test = f"test, {n_test:,}"
    columns = [
        Column("model", part="network"),
        Column("parameters", numeric=True),
        Column("time", numeric=True, part="of training"),
        Column("epoch", numeric=True, part="best, of"),
        Column("accuracy", numeric=True, part=train),
        Column("accuracy", numeric=True, part=validation),
        Column("gap", numeric=True, part="points", hint="train minus validation accuracy"),
        Column("accuracy", numeric=True, part=test, hint="with its 95 % interval"),
        Column("macro F1", numeric=True, part=test),
        Column("log loss", numeric=True, part=test),
        Column("cal. error", numeric=True, part=test, hint="expected calibration error"),
    ]
    return Table(
        "Every model, the stack and the majority baseline",
        columns,
        [_model_row(facts, name) for name in [*facts.models, STACK, MAJORITY]],
        highlighted=frozenset({"stack"}),
    )


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


def split_table(split: Mapping[str, Any]) -> Table:
    """Images of each part."""
    total = sum(split[f"n_{part}"] for part in PARTS)
    rows = [
        [
            Cell(part, part),
            _number(split[f"n_{part}"]),
            _share(split[f"n_{part}"] / max(total, 1), n_images=total),
        ]
        for part in PARTS
    ]
    columns = [Column("part"), Column("images", numeric=True), Column("share", numeric=True)]
    return Table("Images of each part", columns, rows)


def class_shares_table(split: Mapping[str, Any], classes: Sequence[str]) -> Table:
    """Share of each class in each part, and the gap between the largest and the smallest."""
    parts = [part for part in PARTS if split["class_shares"].get(part)]
    rows = []
    for name in classes:
        shares = [split["class_shares"][part].get(name, 0.0) for part in parts]
        gap = max(shares) - min(shares)
        rows.append(
            [
                Cell(name, name),
                *(
                    _share(share, n_images=split[f"n_{part}"])
                    for share, part in zip(shares, parts, strict=True)
                ),
                Cell(f"{gap * 100:.2f}", gap),
            ]
        )
    columns = [
        Column("class"),
        *(Column(part, numeric=True, part=f"{split[f'n_{part}']:,} images") for part in parts),
        Column("gap", numeric=True, part="points"),
    ]
    return Table("Share of each class in each part", columns, rows)


def per_class_table(rows: Rows) -> Table:
    """Precision, recall, F1 and support of every class."""
    measures = ("precision", "recall", "f1")
    columns = [
        Column("class"),
        *(Column({"f1": "F1"}.get(name, name), numeric=True) for name in measures),
        Column("support", numeric=True, part="test images"),
    ]
    body = [
        [
            Cell(row["class"], row["class"]),
            *(Cell(decimal(float(row[name])), float(row[name])) for name in measures),
            _number(int(row["support"])),
        ]
        for row in rows
    ]
    return Table("The stack on test images, class by class", columns, body)


def confusions_table(confusion: Rows) -> Table:
    """The most frequent mistakes."""
    counts = Counter((row["actual"], row["predicted"]) for row in confusion)
    totals = Counter(row["actual"] for row in confusion)
    wrong = [(pair, number) for pair, number in counts.items() if pair[0] != pair[1]]
    wrong.sort(key=lambda item: (-item[1], item[0]))
    columns = [
        Column("is"),
        Column("taken for"),
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


def components_table(pca: Mapping[str, Any]) -> Table:
    """How many components hold 90 and 95 %, by both rules."""
    keys = [
        f"components_{share}_{rule}"
        for rule in ("variance", "singular_values")
        for share in (90, 95)
    ]
    columns = [
        Column("channel"),
        *(
            Column(f"for {key.split('_')[1]} %", numeric=True, part=f"of the {rule}")
            for key in keys
            for rule in [" ".join(key.split("_")[2:])]
        ),
    ]
    rows = [
        [Cell(channel, channel), *(_number(pca[channel][key]) for key in keys)]
        for channel in ("red", "green", "blue")
    ]
    return Table(f"Components needed, of {pca['n_features']:,}", columns, rows)


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
    trained = facts.metrics["models"].get(name, {})
    stack = facts.metrics["stack"]
    tested = facts.metrics["test"][name]
    validation = stack["validation_accuracy"] if name == STACK else trained["validation_accuracy"]
    if name == STACK:
        network = f"{stack['method']} over {count(stack['n_members'], 'model')}"
    elif name == MAJORITY:
        network = f"always “{trained['predicted_class']}”"
    else:
        network = facts.params["models"][name]["network"]
    seconds = facts.seconds.get("stack" if name == STACK else f"train/{name}")
    train = trained.get("train_accuracy")
    gap = None if train is None else train - validation
    return [
        Cell(name.replace("_", " ") if name == MAJORITY else name, name, network),
        _number(trained.get("n_parameters")),
        Cell(duration(seconds), seconds),
        _epoch(trained),
        _share(train),
        _share(validation, note="cross-fitted" if name == STACK else ""),
        Cell(NOTHING if gap is None else f"{gap * 100:.1f}", gap),
        _tested_accuracy(tested),
        *(
            Cell(decimal(value), value)
            for value in map(tested.get, ("macro_f1", "log_loss", "calibration_error"))
        ),
    ]


def _tested_accuracy(tested: Mapping[str, Any]) -> Cell:
    n_images = tested["n_images"]
    if not n_images:
        return Cell(NOTHING)
    note = interval(tested["accuracy_ci95"], n_images=n_images)
    return _share(tested["accuracy"], n_images=n_images, note=note)


def _epoch(trained: Mapping[str, Any]) -> Cell:
    best = trained.get("best_epoch")
    return Cell(NOTHING) if best is None else Cell(str(best), best, f"of {trained['n_epochs']}")


def _share(share: float | None, *, n_images: int = 0, note: str = "") -> Cell:
    return Cell(percent(share, n_images=n_images), share, note)


def _number(number: int | None) -> Cell:
    return Cell(NOTHING) if number is None else Cell(f"{number:,}", number)
