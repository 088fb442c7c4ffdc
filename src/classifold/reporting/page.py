"""One HTML page that opens from the disk, with everything in it."""

import json
from collections.abc import Iterator, Sequence
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from classifold.pack import Pack, read_pack
from classifold.reporting.charts import (
    accuracies_on_test,
    channels_are_equal,
    class_balance,
    confusion_matrix,
    explained_variance,
    image_sizes,
    learning_curves,
    map_of_images,
    mapped_images,
    reliability,
)
from classifold.reporting.facts import MAJORITY, STACK, Facts, Rows
from classifold.reporting.pictures import Picture, file_to_uri, pixels_to_uri, thumbnails
from classifold.reporting.provenance import Provenance
from classifold.reporting.tables import (
    class_shares_table,
    components_table,
    confusions_table,
    models_table,
    per_class_table,
    perplexities_table,
    plain_table,
    split_table,
    timings_table,
)
from classifold.reporting.wording import (
    count,
    decimal,
    duration,
    gain_sentence,
    interval,
    percent,
    points,
    verdict,
)

HERE = Path(__file__).parent

MOST_UNREADABLE = 20
MOST_EXCLUDED = 24
MOST_COPY_GROUPS = 24
MOST_COPIES_NAMED = 6
MOST_MISTAKES = 12
AUGMENTED_SOURCES = 3
MOST_AUGMENTED = 48
MAP_THUMBNAIL = 48  # pixels


def write_page(path: Path, facts: Facts, provenance: Provenance) -> None:
    """Write the page; it appears whole or not at all.

    Args:
        path: of the HTML file; its folder is made if need be.
        facts: of the run.
        provenance: of the code.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(render_page(facts, provenance), encoding="utf-8")
    partial.replace(path)


def render_page(facts: Facts, provenance: Provenance) -> str:
    """Render the page. Everything from data is escaped, wherever it stands."""
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        word.__name__: word for word in (percent, points, interval, decimal, count, duration)
    }
    # Ours and Plotly's own, not from data; neither holds the end of a script or a style.
    inlined = {
        "style": Markup((HERE / "style.css").read_text(encoding="utf-8")),  # noqa: S704
        "script": Markup((HERE / "page.js").read_text(encoding="utf-8")),  # noqa: S704
        "plotly": Markup(get_plotlyjs()),  # noqa: S704
    }
    return environment.get_template("page.html").render(
        facts=facts,
        metrics=facts.metrics,
        provenance=provenance,
        verdict=verdict(facts),
        gain_sentence=gain_sentence(facts.metrics["stack"]),
        STACK=STACK,
        MAJORITY=MAJORITY,
        MOST_UNREADABLE=MOST_UNREADABLE,
        **_data(facts),
        **_augmentation(facts),
        **_models(facts),
        **_test(facts),
        **_understanding(facts),
        timings=timings_table(facts.seconds),
        total_seconds=sum(facts.seconds.values()),
        training_seconds=sum(facts.seconds.get(f"train/{name}", 0.0) for name in facts.models),
        **inlined,
    )


def spread_over_reasons(excluded: Rows, *, most: int) -> Rows:
    """Choose images left out, of each reason in turn, so that a frequent one hides no other."""
    by_reason: dict[str, Rows] = {}
    for row in excluded:
        by_reason.setdefault(row["reason"], []).append(row)
    turns = zip_longest(*(rows[:most] for rows in by_reason.values()))
    return list(islice((row for turn in turns for row in turn if row), most))


def worst_mistakes(answers: Sequence[dict[str, Any]], *, most: int) -> list[dict[str, Any]]:
    """Choose the wrong answers given with the highest probability."""
    wrong = [row for row in answers if row["predicted"] != row["label"]]
    return sorted(wrong, key=lambda row: (-row["probability"], row["id"]))[:most]


def _data(facts: Facts) -> dict[str, Any]:
    chosen = spread_over_reasons(facts.excluded, most=MOST_EXCLUDED)
    groups: dict[str, Rows] = {}
    for row in facts.copies:
        groups.setdefault(row["group"], []).append(row)
    shown = dict(islice(groups.items(), MOST_COPY_GROUPS))
    ids = {row["id"] for row in chosen} | {rows[0]["id"] for rows in shown.values()}
    uris = thumbnails(facts.folders.ingested, ids)
    unreadable = ((row["id"], row["reason"]) for row in facts.unreadable[:MOST_UNREADABLE])
    return {
        "class_balance": class_balance(facts),
        "image_sizes": image_sizes(facts.sizes),
        "n_sizes": len({row["size"] for row in facts.sizes}),
        "unreadable": plain_table("Unreadable files", ["file", "reason"], unreadable),
        "excluded": [
            Picture(
                uris[row["id"]],
                f"{row['id']}, labelled {row['label'] or 'nothing'}",
                [row["id"], row["reason"].replace("_", " "), _measured(row)],
            )
            for row in chosen
        ],
        "copies": [_copy_picture(uris[rows[0]["id"]], rows) for rows in shown.values()],
    }


def _measured(row: dict[str, str]) -> str:
    words = {"size": "is", "duplicate": "copy of", "conflicting_labels": "labelled"}
    return f"{words.get(row['reason'], 'measured')} {row['measured']}"


def _copy_picture(uri: str, rows: Rows) -> Picture:
    kept = {"true": "kept", "false": "left out"}
    named = [f"{row['id']} ({row['label']}, {kept[row['kept']]})" for row in rows]
    if len(named) > MOST_COPIES_NAMED:
        named = [*named[:MOST_COPIES_NAMED], f"and {len(named) - MOST_COPIES_NAMED:,} more"]
    title = f"{len(rows):,} equal images"
    return Picture(uri, f"{title}, the first {rows[0]['id']}", [title, *named])


def _augmentation(facts: Facts) -> dict[str, Any]:
    pack = read_pack(facts.folders.augmented)
    return {
        "augmented": [list(_copies_of(pack, row)) for row in _example_rows(pack)],
        "MOST_AUGMENTED": MOST_AUGMENTED,
    }


def _example_rows(pack: Pack) -> list[int]:
    """Originals of three classes, far apart in the order of classes."""
    originals = np.flatnonzero(pack.copies == 0)
    labels = pack.labels[originals]
    present = np.unique(labels)
    wanted = present[np.unique(np.linspace(0, len(present) - 1, AUGMENTED_SOURCES).astype(int))]
    rows = [int(originals[np.argmax(labels == label)]) for label in wanted]
    # Fewer classes than examples: more images of the last.
    others = (int(row) for row in originals if int(row) not in rows)
    return [*rows, *islice(others, AUGMENTED_SOURCES - len(rows))]


def _copies_of(pack: Pack, original: int) -> Iterator[Picture]:
    """An original and the rows after it, up to the next original."""
    for row in range(original, min(original + MOST_AUGMENTED, len(pack.labels))):
        if row > original and pack.copies[row] == 0:
            return
        name, transformation = pack.ids[row], pack.transformations[row]
        title = name if row == original else f"copy {pack.copies[row]}"
        words = "the original" if row == original else transformation
        label = pack.classes[pack.labels[row]]
        alt = f"{name}, labelled {label}: {words}"
        yield Picture(pixels_to_uri(np.asarray(pack.images[row])), alt, [title, words])


def _models(facts: Facts) -> dict[str, Any]:
    return {
        "models": models_table(facts),
        "loss_curves": learning_curves(facts, quantity="loss"),
        "accuracy_curves": learning_curves(facts, quantity="accuracy"),
        "test_accuracies": accuracies_on_test(facts) if facts.n_test else None,
        "split_sizes": split_table(facts.metrics["split"]),
        "class_shares": class_shares_table(facts.metrics["split"], facts.classes),
    }


def _test(facts: Facts) -> dict[str, Any]:
    if not facts.n_test:
        return {}
    answers = facts.answers[STACK]
    chosen = worst_mistakes(answers, most=MOST_MISTAKES)
    uris = thumbnails(facts.folders.ingested, [row["id"] for row in chosen])
    mistakes = [
        Picture(
            uris[row["id"]],
            f"{row['id']}, labelled {row['label']}, taken for {row['predicted']}",
            [
                f"taken for {row['predicted']}, {percent(row['probability'])}",
                f"is {row['label']}, {percent(row['label_probability'])}",
                row["id"],
            ],
        )
        for row in chosen
    ]
    return {
        "confusion": confusion_matrix(facts),
        "confusions": confusions_table(facts.confusion),
        "per_class": per_class_table(facts.per_class),
        "reliability": reliability(facts.calibration),
        "mistakes": mistakes,
        "n_mistakes": sum(row["predicted"] != row["label"] for row in answers),
    }


def _understanding(facts: Facts) -> dict[str, Any]:
    mapped = mapped_images(facts.maps)
    positions = {row["id"]: number for number, row in enumerate(mapped)}
    uris = thumbnails(facts.folders.ingested, list(positions), side=MAP_THUMBNAIL)
    points = [[uris[row["id"]], row["id"], row["label"]] for row in mapped]
    explanations = facts.folders.explained / "explanations.png"
    return {
        "pca": explained_variance(facts.components),
        "one_channel": channels_are_equal(facts.components),
        "components": file_to_uri(facts.folders.pca / "components.png"),
        "components_needed": components_table(facts.metrics["pca"]),
        "maps": [
            map_of_images(facts.maps, space=space, positions=positions)
            for space in ("pixels", "features")
        ],
        # The only script element with text from data; "<" cannot end it.
        "points": Markup(json.dumps(points).replace("<", "\\u003c")),  # noqa: S704
        "n_mapped": len(mapped),
        "n_map_classes": len({row["label"] for row in mapped}),
        "perplexities": perplexities_table(facts.metrics["tsne"]),
        "explanations": file_to_uri(explanations) if explanations.is_file() else None,
    }
