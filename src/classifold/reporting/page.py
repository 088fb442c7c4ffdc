"""One HTML page that opens from the disk, with everything in it."""

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from classifold.data.image_table import LABEL_SEPARATOR, UNLABELLED
from classifold.data.pack import Pack, read_pack
from classifold.pictures.examples import (
    choose_copies,
    choose_groups,
    choose_left_out,
    copy_groups,
    copy_in_words,
    labels_in_words,
    measured_in_words,
    shorten,
    spread,
)
from classifold.plain_text import plain_text
from classifold.reporting.against import Comparison
from classifold.reporting.augmentations import augmented_pictures, steps_in_words
from classifold.reporting.charts import (
    CURVES,
    MOST_CLASS_CURVES,
    channels_are_equal,
    class_balance,
    class_counts,
    confused_classes,
    confusion_matrix,
    explained_variance,
    image_sizes,
    learning_curves,
    map_of_images,
    mapped_images,
    precision_recall,
    reliability,
    scores_of_slices,
    scores_on_test,
)
from classifold.reporting.environment import inlined, page_environment
from classifold.reporting.facts import MAJORITY, STACK, Facts
from classifold.reporting.measures import count, decimal, duration, first_upper, percent
from classifold.reporting.pictures import Picture, file_to_uri, pixels_to_uri, thumbnails
from classifold.reporting.provenance import Provenance
from classifold.reporting.tables import (
    class_proportions_table,
    compared_slices,
    components_table,
    confusions_table,
    conversions_table,
    counts_table,
    lowest,
    member_weights_table,
    models_table,
    other_scores_table,
    per_class_table,
    perplexities_table,
    plain_table,
    slices_table,
    split_table,
    timings_table,
    trainings_table,
)
from classifold.reporting.wording import (
    balance_sentence,
    constant_answer,
    gain_sentence,
    limit_sentence,
    slices_sentence,
    temperature_sentence,
    verdict,
)
from classifold.runtime.atomic_files import new_file

MOST_UNREADABLE = 20
MOST_EXCLUDED = 24
MOST_COPY_GROUPS = 24
MOST_COPIES = 6  # of a group
MOST_LETTERS = 80  # of a line below a picture
MOST_MISTAKES = 12  # of a kind
MOST_WORST_CLASSES = 5
AUGMENTED_SOURCES = 3
POLICY_SOURCES = 6
MOST_AUGMENTED = 48
MAP_THUMBNAIL = 48  # pixels


def write_page(
    path: Path, facts: Facts, provenance: Provenance, comparison: Comparison | None = None
) -> None:
    """Write the page; it appears whole or not at all.

    Args:
        path: of the HTML file; its folder is made if need be.
        facts: of the run.
        provenance: of the code.
        comparison: with another revision, if one is asked for.
    """
    with new_file(path) as partial:
        partial.write_text(render_page(facts, provenance, comparison), encoding="utf-8")


def render_page(facts: Facts, provenance: Provenance, comparison: Comparison | None = None) -> str:
    """Render the page. Everything from data is escaped, wherever it stands."""
    environment = page_environment()
    environment.filters |= {word.__name__: word for word in (percent, decimal, count, duration)}
    environment.filters["first_upper"] = first_upper
    # Ours and Plotly's own, not from data; neither holds the end of a script or a style.
    parts = {
        "style": inlined("style.css"),
        "script": inlined("page.js"),
        "plotly": Markup(get_plotlyjs()),  # noqa: S704
    }
    return environment.get_template("page.html").render(
        facts=facts,
        metrics=facts.metrics,
        provenance=provenance,
        comparison=comparison,
        measure=facts.measure,
        several=facts.task == "multi",
        verdict=verdict(facts),
        short_form=limit_sentence(facts.params["limit"]),
        baseline=constant_answer(facts.metrics["models"][MAJORITY]),
        gain_sentence=gain_sentence(facts.metrics["stack"]),
        member_weights=member_weights_table(facts.metrics["stack"]),
        STACK=STACK,
        MAJORITY=MAJORITY,
        MOST_CLASS_CURVES=MOST_CLASS_CURVES,
        **_data(facts),
        **_augmentation(facts),
        **_models(facts),
        **_test(facts),
        **_understanding(facts),
        timings=timings_table(facts.seconds),
        total_seconds=sum(facts.seconds.values()),
        training_seconds=sum(facts.seconds.get(f"train/{name}", 0.0) for name in facts.models),
        **parts,
    )


def _data(facts: Facts) -> dict[str, Any]:
    chosen = choose_left_out(facts.excluded, most=MOST_EXCLUDED)
    groups = choose_groups(copy_groups(facts.copies), most=MOST_COPY_GROUPS)
    copies = [(group, choose_copies(group, most=MOST_COPIES)) for group in groups]
    ids = {row["id"] for row in chosen} | {row["id"] for _, rows in copies for row in rows}
    uris = thumbnails(facts.folders.ingested, ids)
    unreadable = spread(facts.unreadable, over=[itemgetter("reason")], most=MOST_UNREADABLE)
    return {
        "official": {
            part: number
            for part, number in facts.metrics["ingest"]["images_per_split"].items()
            if part != UNLABELLED
        },
        "conversions": conversions_table(facts),
        "balance_sentence": balance_sentence(facts.metrics["filter"]),
        "class_balance": class_balance(facts),
        "image_sizes": image_sizes(facts.sizes),
        "n_sizes": len({row["size"] for row in facts.sizes}),
        "unreadable": plain_table(
            "Unreadable files", ["file", "reason"], map(itemgetter("id", "reason"), unreadable)
        ),
        "excluded": [_left_out_picture(uris[row["id"]], row) for row in chosen],
        "copies": [
            (group.title(n_shown=len(rows)), [_copy_picture(uris[row["id"]], row) for row in rows])
            for group, rows in copies
        ],
    }


def _left_out_picture(uri: str, row: Mapping[str, str]) -> Picture:
    lines = [row["id"], row["reason"].replace("_", " "), measured_in_words(row)]
    alt = f"{row['id']}, labelled {labels_in_words(row)}"
    return Picture(uri, alt, [shorten(line, MOST_LETTERS) for line in lines])


def _copy_picture(uri: str, row: Mapping[str, str]) -> Picture:
    words = [labels_in_words(row), *copy_in_words(row)]
    lines = [shorten(line, MOST_LETTERS) for line in (row["id"], *words)]
    return Picture(uri, f"{row['id']}: {', '.join(words)}", lines)


def _augmentation(facts: Facts) -> dict[str, Any]:
    pack = read_pack(facts.folders.augmented)
    rows = _example_rows(pack, AUGMENTED_SOURCES)
    return {
        "augmented": [list(_copies_of(pack, row)) for row in rows],
        "policies": _policies(facts, pack),
        "MOST_AUGMENTED": MOST_AUGMENTED,
    }


def _policies(facts: Facts, pack: Pack) -> list[dict[str, Any]]:
    """What each policy makes of a few images, and which models learn from it."""
    rows = _example_rows(pack, POLICY_SOURCES)
    images, names = (
        np.asarray(pack.images[rows]),
        [shorten(pack.ids[row], MOST_LETTERS) for row in rows],
    )
    return [
        {
            "name": name,
            "steps": steps_in_words(policy),
            "models": [
                model for model, of in facts.params["models"].items() if of["online"] == name
            ],
            "pictures": augmented_pictures(images, policy, names=names, seed=1, epoch=1),
        }
        for name, policy in facts.params["policies"].items()
    ]


def _example_rows(pack: Pack, n_wanted: int) -> list[int]:
    """Originals of as many classes as there may be, far apart in the order of classes."""
    originals = np.flatnonzero(pack.variants == 0)
    first = _first_of_classes(pack.labels[originals])
    spread_out = np.linspace(0, len(first) - 1, n_wanted).astype(int)
    rows = list(dict.fromkeys(int(originals[first[i]]) for i in spread_out))
    # Fewer classes than examples: more images.
    others = (int(row) for row in originals if int(row) not in rows)
    return [*rows, *islice(others, n_wanted - len(rows))]


def _first_of_classes(labels: np.ndarray) -> list[int]:
    """The first image of each class that has one; labels (N,), or 0 and 1 in (N, n_classes)."""
    if labels.ndim == 1:
        return np.unique(labels, return_index=True)[1].tolist()
    return [int(np.argmax(borne)) for borne in labels.T if borne.any()]


def _labels_of(pack: Pack, row: int) -> str:
    label = pack.labels[row]
    if pack.task == "single":
        return pack.classes[label]
    borne = [name for name, bears in zip(pack.classes, label, strict=True) if bears]
    return ", ".join(borne) or "nothing"


def _copies_of(pack: Pack, original: int) -> Iterator[Picture]:
    """An original and the rows after it, up to the next original."""
    for row in range(original, min(original + MOST_AUGMENTED, len(pack.labels))):
        if row > original and pack.variants[row] == 0:
            return
        name, transformation = pack.ids[row], pack.transformations[row]
        title = name if row == original else f"copy {pack.variants[row]}"
        words = "the original" if row == original else transformation
        alt = f"{name}, labelled {_labels_of(pack, row)}: {words}"
        yield Picture(pixels_to_uri(np.asarray(pack.images[row])), alt, [title, words])


def _models(facts: Facts) -> dict[str, Any]:
    return {
        "models": models_table(facts),
        "curves": [
            learning_curves(facts, quantity=quantity)
            for quantity in CURVES
            if facts.history and any(name.endswith(quantity) for name in facts.history[0])
        ],
        "trainings": trainings_table(facts),
        "test_scores": scores_on_test(facts) if facts.n_test else None,
        "split_sizes": split_table(facts.metrics["split"]),
        "class_proportions": class_proportions_table(facts.metrics["split"], facts.classes),
    }


def _test(facts: Facts) -> dict[str, Any]:
    if not facts.n_test:
        return {}
    compared = compared_slices(facts.slices)
    worst = lowest(facts.per_class, most=MOST_WORST_CLASSES)
    return {
        "other_scores": other_scores_table(facts),
        "slices": scores_of_slices(facts, compared) if compared else None,
        "slices_table": slices_table(compared, facts.measure),
        "slices_sentence": slices_sentence(list(dict.fromkeys(row["slice"] for row in compared))),
        "worst": per_class_table(worst, caption="The classes with the lowest F1"),
        "per_class": per_class_table(
            facts.per_class, caption="The stack on test images, every class"
        ),
        "reliability": reliability(facts.calibration, task=facts.task),
        "temperature_sentence": temperature_sentence(facts.metrics["test"][STACK]),
        "galleries": list(_mistakes(facts)),
        **(_of_one_label(facts) if facts.task == "single" else _of_several_labels(facts)),
    }


def _of_one_label(facts: Facts) -> dict[str, Any]:
    wrong = [row for row in facts.confusion if row["actual"] != row["predicted"]]
    return {
        "confusion": confusion_matrix(facts),
        "n_confused": len(confused_classes(facts)),
        "confusions": confusions_table(facts.confusion),
        "n_mistakes": len(wrong),
    }


def _of_several_labels(facts: Facts) -> dict[str, Any]:
    kinds = ("false_positives", "false_negatives")
    return {
        "precision_recall": precision_recall(facts),
        "class_counts": class_counts(facts.per_class),
        "counts": counts_table(facts.per_class),
        "threshold": facts.threshold,
        "n_mistakes": sum(int(row[kind]) for row in facts.per_class for kind in kinds),
    }


def _mistakes(facts: Facts) -> Iterator[tuple[str, list[Picture]]]:
    """Galleries of the stack's surest mistakes, with a title each; those without one left out."""
    groups = {"": facts.mistakes}
    if facts.task == "multi":
        missed = [row for row in facts.mistakes if row["positive"] == "true"]
        claimed = [row for row in facts.mistakes if row["positive"] == "false"]
        groups = {"Labels it missed": missed, "Labels it answered wrongly": claimed}
    answers = {row["id"]: row for row in facts.answers[STACK]}
    picture = _mistake if facts.task == "single" else _mistake_of_several
    for title, rows in groups.items():
        shown = rows[:MOST_MISTAKES]
        uris = thumbnails(facts.folders.ingested, [row["id"] for row in shown])
        if shown:
            yield title, [picture(uris[row["id"]], row, answers[row["id"]]) for row in shown]


def _mistake(uri: str, row: Mapping[str, str], answer: Mapping[str, Any]) -> Picture:
    lines = [
        f"predicted {row['predicted']}, {percent(float(row['probability']))}",
        f"actual {row['label']}, {percent(answer['label_probability'])}",
        row["id"],
    ]
    alt = f"{row['id']}, labelled {row['label']}, predicted {row['predicted']}"
    return Picture(uri, alt, [shorten(line, MOST_LETTERS) for line in lines])


def _mistake_of_several(uri: str, row: Mapping[str, str], answer: Mapping[str, Any]) -> Picture:
    borne, answered = (
        answer[key].replace(LABEL_SEPARATOR, ", ") or "nothing" for key in ("label", "predicted")
    )
    kind = "missed" if row["positive"] == "true" else "wrong"
    lines = [
        f"{row['class']} {kind}, {percent(float(row['probability']))}",
        f"bears {borne}",
        f"answered {answered}",
        row["id"],
    ]
    alt = f"{row['id']}, labelled {borne}, answered {answered}"
    return Picture(uri, alt, [shorten(line, MOST_LETTERS) for line in lines])


def _understanding(facts: Facts) -> dict[str, Any]:
    mapped = mapped_images(facts.maps)
    positions = {row["id"]: number for number, row in enumerate(mapped)}
    uris = thumbnails(facts.folders.ingested, list(positions), side=MAP_THUMBNAIL)
    points = [[uris[row["id"]], plain_text(row["id"]), plain_text(row["label"])] for row in mapped]
    pca, explained = facts.folders.pca, facts.folders.explained
    needed = facts.metrics["pca"]
    of_one = needed["one_image"]
    return {
        "pca": explained_variance(facts.components),
        "one_channel": channels_are_equal(facts.components),
        "components": file_to_uri(pca / "components.png"),
        "components_needed": components_table(needed, n_features=needed["n_features"]),
        "reconstruction": file_to_uri(pca / "reconstruction.png"),
        "image_components": file_to_uri(pca / "image_components.png"),
        "image_components_needed": components_table(of_one, n_features=of_one["n_components"]),
        "maps": [
            map_of_images(facts.maps, space=space, positions=positions)
            for space in ("pixels", "features")
        ],
        # The only script element with text from data; "<" cannot end it.
        "points": Markup(json.dumps(points).replace("<", "\\u003c")),  # noqa: S704
        "n_mapped": len(mapped),
        "n_map_classes": len({row["label"] for row in mapped}),
        "perplexities": perplexities_table(facts.metrics["tsne"]),
        # Some networks have no convolutions, and some data no test images.
        **{
            name: file_to_uri(path) if path.is_file() else None
            for name in ("explanations", "filters", "activations")
            for path in (explained / f"{name}.png",)
        },
    }
