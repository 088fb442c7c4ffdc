"""A synthetic run of the pipeline: every file that the report reads, with known numbers."""

from collections import Counter
from itertools import zip_longest
from pathlib import Path

import numpy as np
from PIL import Image

from classifold.analysis.explain.neighbors import COLUMNS
from classifold.analysis.robustness.sample import Sample, describe_empty
from classifold.analysis.robustness.summary import summarize_robustness, write_tables
from classifold.data.csv_file import write_rows
from classifold.data.image_table import write_table
from classifold.data.json_file import read_json, write_json
from classifold.data.pack import new_pack
from classifold.evaluation.files import write_evaluation
from classifold.evaluation.inference import Predictions
from classifold.evaluation.label_errors import write_label_errors
from classifold.evaluation.labels import LabeledImages
from classifold.reporting.facts import Folders, read_facts
from classifold.reporting.formats import MAIN_METRICS
from classifold.reporting.page import write_page
from classifold.reporting.provenance import Provenance
from image_scene import pillow

PLAIN = ("apple", "pear")
HOSTILE = ("<script>alert(1)</script>", "=cmd()", '"><img src=x onerror=alert(2)>', "2020-01-01")
MODELS = ("one", "two")
TASKS = ("single", "multi")
VARIANTS = 3
DUPLICATES = {"exact": "drop", "near": "group", "conflicting": "drop"}
SIDE = 8
PROVENANCE = Provenance("abc1234", [], {"python": "3.12.0"})


def table(keys, rows):
    """Mappings of the same keys, by the names of the rows."""
    return {name: dict(zip(keys.split(), row, strict=True)) for name, row in rows.items()}


def write_tuples(path, keys, rows):
    """Write a CSV file of tuples."""
    write_rows(path, table(keys, dict(enumerate(rows))).values(), columns=keys.split())


# Numbers that occur nowhere else on the page.
OF_EITHER = {
    "macro_f1": 0.654321,
    "macro_f1_present": 0.654321,
    "n_classes_present": 2,
    "n_classes": 2,
    "log_loss": 0.543219,
    "n_duplicates_of_train": 2,
    "calibration_error": 0.043219,
    "calibration_error_uncalibrated": 0.087654,
    "train_test_gap": 0.277655,
    "validation_test_gap": 0.120988,
}
CONFORMAL = {
    "calibrated_on": "validation",
    "n_calibration_images": 60,
    "levels": table(
        "threshold coverage coverage_ci95 mean_size one_class_fraction n_images",
        {
            "0.9": (0.5, 0.887766, [0.834567, 0.923456], 1.234567, 0.776655, 4),
            "0.99": (0.0, None, None, 2.0, 0.0, 0),
        },
    ),
}
RISK_COVERAGE = {
    "area": 0.076543,
    "excess_area": 0.034567,
    "accuracies": table(
        "threshold n_predicted predicted_fraction accuracy accuracy_ci95",
        {
            "0.95": (0.456789, 3, 0.75, 0.965432, [0.845678, 0.998765]),
            "0.99": (None, 0, 0.0, None, None),
        },
    ),
}
UNCERTAINTY = {"conformal": CONFORMAL, "risk_coverage": RISK_COVERAGE}
OF_MODELS = {"versus_stack", "untrained_accuracy", "untrained_micro_f1"}
DIFFERENCE = {"difference": -0.0234, "difference_ci95": [-0.0567, 0.0089]}
SCORES = {
    "single": {
        "accuracy": 0.712345,
        "accuracy_ci95": [0.612345, 0.812345],
        "top3_accuracy": 0.912345,
        "top5_accuracy": 0.962345,
        "macro_f1_ci95": [0.512345, 0.787654],
        "accuracy_without_duplicates": 0.693456,
        "untrained_accuracy": 0.134567,
        "versus_stack": DIFFERENCE | {"p_value": 0.345678},
        **OF_EITHER,
    },
    "multi": {
        "micro_f1": 0.712345,
        "micro_f1_ci95": [0.612345, 0.812345],
        "micro_f1_at_half": 0.676543,
        "micro_f1_at_class_thresholds": 0.734567,
        "subset_accuracy": 0.412345,
        "mean_average_precision": 0.765432,
        "hamming_loss": 0.098765,
        "micro_f1_without_duplicates": 0.693456,
        "untrained_micro_f1": 0.134567,
        "versus_stack": DIFFERENCE,
        **OF_EITHER,
    },
}


class Run:
    """The outputs of all stages for a few synthetic images."""

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
        task="single",
    ):
        self.task = task
        self.root, self.classes, self.n_test = root, list(classes), n_test
        self.labels = {f"{name}/{i}.png": name for name in classes for i in range(each)}
        self.ids = list(self.labels)
        self.excluded = [] if kept_only else self.ids[:2]
        self.test_ids = [self.ids[i % len(self.ids)] for i in range(n_test)]
        self.n_right = n_right
        self.official = official or {}
        self.folders = Folders(**{name: root / name for name in Folders._fields})
        for folder in self.folders:
            folder.mkdir(parents=True, exist_ok=True)
        self._data()
        self._training()
        self._evaluation()
        self._analysis()
        self.params = {
            "limit": {"images_per_class": None, "epochs": None},
            "robustness": {"adversarial": {"steps": 10}},
            "ingest": {"background": [255, 255, 255]},
            "filter": {"duplicates": DUPLICATES | (duplicates or {})},
            "dataset": {"path": "data/raw/fruit", "layout": "folder", "task": task},
            "train": {"device": "auto", "precision": "auto", "threads": 2},
            "augment": {"size": SIDE},
            "evaluate": {"bootstrap": {"resamples": 200, "seed": 1}},
            "models": {
                name: {
                    "network": "mlp",
                    "seed": 1,
                    "online": "turned",
                    "image_size": SIDE,
                    "loss": {"name": "cross_entropy"},
                }
                for name in MODELS
            },
            "policies": {
                "none": {"fill": "reflect", "steps": []},
                "turned": {"fill": "black", "steps": [{"rotate": 20}, {"shift": [0.1, 0.2]}]},
            },
        }

    def start_from(self, weights):
        """Record the published weights of each model; None for random weights."""
        write_json(self.folders.compared / "weights.json", weights)

    def train_from_seeds(self):
        """Train model one from five seeds and model two from two, and compare them."""
        spreads = {
            "one": {"n": 5, "mean": 0.707654, "sd": 0.012345, "min": 0.687654, "max": 0.727654},
            "two": {"n": 2, "mean": 0.711234, "sd": None, "min": 0.701234, "max": 0.721234},
        }
        for spread in spreads.values():
            low, high = spread["min"], spread["max"]
            scores = [0.712345, *np.linspace(low, high, spread["n"] - 1)]
            spread["scores"] = {str(seed): score for seed, score in enumerate(scores, start=1)}
        versus = {"difference": 0.041234, "difference_ci95": [0.012345, 0.078901]}
        versus = {"versus": {"one": versus | {"larger_than_both": True}}}
        for file in ("models", "test"):
            metrics = read_json(self.folders.metrics / f"{file}.json")
            for name, spread in spreads.items():
                metrics[name]["seeds"] = spread
            if file == "test":
                metrics["two"]["seeds"] = spreads["two"] | versus
            self._metric(file, metrics)

    def use_as_the_stack(self, name):
        """Record that a model has the outputs of the stack, such as its only member."""
        tested = read_json(self.folders.metrics / "test.json")
        tested[name]["versus_stack"] |= {"difference": 0.0, "difference_ci95": [0.0, 0.0]}
        self._metric("test", tested)

    def list_label_errors(self, rows, *, n_errors):
        """Write label errors, as the stage `stack` does: (label, suggested) of the first images."""
        probabilities = {"label_probability": 0.023456, "suggested_probability": 0.934567}
        errors = (
            {"rank": i + 1, "id": self.ids[i], "label": label, "suggested": suggested}
            | probabilities
            for i, (label, suggested) in enumerate(rows)
        )
        write_label_errors(self.folders.ensemble / "label_errors.csv", errors)
        metrics = read_json(self.folders.metrics / "stack.json")
        found = {"models": ["one", "two"], "n_images": 1234, "n_errors": n_errors}
        self._metric("stack", metrics | {"label_errors": found})

    def facts(self):
        return read_facts(self.folders, params=self.params, params_text="a: 1 # <b>why</b>\n")

    def page(self):
        path = self.root / "reports" / "index.html"
        write_page(path, self.facts(), PROVENANCE)
        return path.read_text(encoding="utf-8")

    def _metric(self, name, content):
        write_json(self.folders.metrics / f"{name}.json", content)

    def _data(self):
        rows = ({"id": i, "image": {"bytes": encoded_image(i), "path": i}} for i in self.ids)
        write_table(self.folders.ingested, ({**EMPTY_ROW, **row} for row in rows))
        counts = Counter(self.labels.values())
        gone = Counter(self.labels[i] for i in self.excluded)
        n_images, n_gone = len(self.ids), len(self.excluded)
        broken = [{"id": "b<i>.png", "reason": "cut <b>off</b>"}] * (25 if n_gone else 0)
        converted = {"grayscale": 1 if n_gone else 0, "palette": 0}
        ingested = {
            "n_files": n_images + len(broken),
            "n_images": n_images,
            "n_unreadable": len(broken),
            "n_ignored": 0,
            "n_labels_without_image": 0,
            "n_converted_to_rgb": sum(converted.values()),
            "converted": converted,
            "n_turned_upright": 0,
            "n_animated": 2 if n_gone else 0,
            "n_unlabelled": self.official.get("unlabelled", 0),
            "images_per_split": self.official,
            "n_classes": len(self.classes),
            "images_per_class": counts,
            "unreadable_per_class": dict.fromkeys(counts, 0),
        }
        self._metric("ingest", ingested)
        conversions = {"8-bit RGB": n_images - (n_gone > 0)}
        conversions |= {"grayscale": 1, "animated": 2} if n_gone else {}
        path = self.folders.ingested / "conversions.csv"
        write_tuples(path, "kind n_images", conversions.items())
        per_reason = {
            reason: {name: int(self.labels.get(i) == name) for name in self.classes}
            for i, reason in zip_longest(self.excluded, ("size", "duplicate", "limit"))
        }
        filtered = {
            "n_images": n_images,
            "n_kept": n_images - n_gone,
            "n_excluded": n_gone,
            "excluded": {"size": n_gone // 2, "duplicate": n_gone // 2, "limit": 0},
            "modal_size": [SIDE, SIDE],
            "kept_per_class": {name: counts[name] - gone[name] for name in self.classes},
            "excluded_per_class": {name: gone[name] for name in self.classes},
            "excluded_per_reason_and_class": per_reason,
            "n_duplicate_groups": 1 if n_gone else 0,
            "n_duplicates": {"exact": 2, "near": 1} if n_gone else {},
            "n_test_images_with_duplicates": 1 if "test" in self.official else 0,
        }
        self._metric("filter", filtered)
        write_rows(self.folders.ingested / "unreadable.csv", broken, columns=["id", "reason"])
        why = (("size", "4x4"), ("duplicate", self.ids[2]))
        excluded = [(i, self.labels[i], *of) for i, of in zip(self.excluded, why, strict=False)]
        folder = self.folders.filtered
        write_tuples(folder / "excluded.csv", "id label reason measured", excluded)
        first, second, third = self.ids[1], self.ids[2], self.ids[-1]
        duplicates = [
            (first, first, self.labels[first], "", "exact", "false"),
            (first, second, self.labels[second], "", "exact", "true"),
            (first, third, "|".join(self.classes[:2]), "test", "near", "true"),
        ]
        columns = "group id label split kind kept"
        write_tuples(folder / "duplicates.csv", columns, duplicates if n_gone else [])
        sizes = [("8x8", "kept", n_images - n_gone), ("4x4", "size", 1), ("8x8", "duplicate", 1)]
        shown = sizes if n_gone else sizes[:1]
        write_tuples(folder / "sizes.csv", "size outcome n_images", shown)

    def _training(self):
        n_images, n_classes = len(self.ids), len(self.classes)
        proportions = {name: 1 / n_classes for name in self.classes}
        of_test = proportions if self.n_test else {}
        split = {
            "n_train": n_images,
            "n_validation": 6,
            "n_test": self.n_test,
            "class_proportions": {"train": proportions, "validation": proportions, "test": of_test},
            "max_proportion_gap": 0.0123,
            "n_groups": n_images,
            "n_groups_across_splits": 0,
        }
        self._metric("split", split)
        augmented = {"n_source": n_images, "n_images": n_images * VARIANTS, "variants": VARIANTS}
        self._metric("augment", augmented | {"n_validation": 6, "n_bytes": 1})
        settings = {"size": SIDE, "resize": "lanczos", "task": self.task}
        settings |= {"n_images": n_images * VARIANTS, "classes": sorted(self.classes)}
        with new_pack(self.folders.augmented, **settings) as pack:
            for number, (image_id, label) in enumerate(self.labels.items()):
                for variant in range(VARIANTS):
                    described = {"image_id": image_id, "variant": variant, "labels": [label]}
                    transformation = f"rotate {variant}.00" if variant else "none"
                    image = np.full((SIDE, SIDE, 3), 40 * variant, np.uint8)
                    pack.put(number * VARIANTS + variant, [image])
                    pack.describe(**described, transformation=transformation)
        metric = MAIN_METRICS[self.task].key
        trained = {f"train_{metric}": 0.99, f"validation_{metric}": 0.833333}
        trained |= {"best_epoch": 2, "n_epochs": 3, "n_parameters": 12345}
        majority = {f"train_{metric}": 0.5, f"validation_{metric}": 0.5, "n_parameters": 0}
        if self.task == "single":
            majority |= {"predicted_class": self.classes[0]}
        else:
            trained |= {"threshold": 0.4, "micro_f1_at_threshold": 0.861234}
            majority |= {"predicted_classes": self.classes[:2]}
        self._metric("models", dict.fromkeys(MODELS, trained) | {"majority_baseline": majority})
        splits = ("train", "validation")
        of_task = dict.fromkeys(("accuracy", metric))
        scores = [f"{split}_{score}" for score in of_task for split in splits]
        history = [
            {"model": name, "epoch": epoch, "train_loss": 1 / epoch, "validation_loss": 1 / epoch}
            | dict.fromkeys(scores, 1 - 0.5 / epoch)
            for name in MODELS
            for epoch in (1, 2, 3)
        ]
        write_rows(self.folders.compared / "history.csv", history, columns=list(history[0]))
        self.start_from(dict.fromkeys(MODELS))
        stack = {
            "method": "dense",
            "fitted_on": "validation",
            "n_images": 6,
            "members": list(MODELS),
            "n_members": len(MODELS),
            "weights": {"one": 0.25, "two": 0.75},
            f"validation_{metric}": 0.666667,
            "best_member": "two",
            f"best_member_{metric}": 0.833333,
            f"mean_{metric}": 0.5,
            "gain": -0.166667,
            "gain_ci95": [-0.4, 0.1],
            "gain_of_mean": -0.333333,
            "gain_of_mean_ci95": [-0.5, -0.123],
        }
        self._metric("stack", stack)
        for name in ("ingest", "train/one", "train/two", "stack"):
            write_json(self.folders.timings / f"{name}.json", {"seconds": 75.0})

    def _evaluation(self):
        names = [*MODELS, "stack", "majority_baseline"]
        tested = dict.fromkeys(names, SCORES[self.task] | {"n_images": self.n_test})
        tested |= {name: tested[name] | UNCERTAINTY for name in (*MODELS, "stack")}
        tested["stack"] = {k: v for k, v in tested["stack"].items() if k not in OF_MODELS}
        nothing = {name: {"n_images": 0} for name in names}
        self._metric("test", tested if self.n_test else nothing)
        n_classes = len(self.classes)
        position = {name: i for i, name in enumerate(self.classes)}
        labels = np.array([position[self.labels[i]] for i in self.test_ids], np.int64)
        wrong = np.arange(self.n_test) >= self.n_right
        predicted = (labels + wrong) % n_classes
        given = np.full((self.n_test, n_classes), 0.3 / max(n_classes - 1, 1))
        given[np.arange(self.n_test), predicted] = 0.7
        decision = {}
        if self.task == "multi":
            # Every image has one label; an incorrect prediction is another class.
            labels, predicted = np.eye(n_classes, dtype=int)[labels], given > 0.4
            decision = {"threshold": 0.4, "thresholds": [0.35] * n_classes}
        self._robustness(labels, predicted)
        decision |= {"prediction_sets": {"0.9": 0.5}, "abstention": {"0.95": 0.5}}
        dark = np.arange(self.n_test) % 2 == 0
        slices = {"brightness": {"dark": dark, "bright": ~dark}} if self.n_test > 1 else {}
        predictions = dict.fromkeys(names, Predictions(given, given, predicted, decision))
        images = LabeledImages(self.test_ids, labels)
        settings = {"classes": self.classes, "slices": slices, "calibration_bins": 5}
        write_evaluation(self.folders.evaluated, predictions, images, **settings)

    def _robustness(self, labels, predicted):
        conditions = [("clean", 0), ("fog", 1), ("fog", 3), ("snow", 1), ("snow", 3)]
        attacks = [(name, epsilon) for name in ("fgsm", "pgd") for epsilon in (1, 4)]
        names = (*MODELS, "stack") if self.n_test else ()
        corrupted = {name: dict.fromkeys(conditions, predicted) for name in names}
        attacked = {name: dict.fromkeys(attacks, predicted[:2]) for name in names}
        sample = Sample(LabeledImages(self.test_ids, labels), self.n_test)
        metrics = summarize_robustness(corrupted, attacked, sample, image_size=SIDE)
        reason = describe_empty(sample)
        self._metric("robustness", metrics | ({"reason": reason} if reason else {}))
        self.folders.robustness.mkdir(parents=True, exist_ok=True)
        write_tables(self.folders.robustness, corrupted, attacked, labels)
        Image.new("RGB", (40, 20)).save(self.folders.robustness / "corruptions.png")

    def _analysis(self):
        rules = ("variance", "singular_values")
        counts = {f"components_{percentage}_{rule}": 4 for rule in rules for percentage in (90, 95)}
        channels = ("red", "green", "blue")
        components = dict.fromkeys(channels, counts)
        one_image = {"id": HOSTILE[0], "n_components": 8, **components}
        found = {"n_images": 10, "size": 8, "n_features": 64, **components, "one_image": one_image}
        self._metric("pca", found)
        curve = [(channel, k, k / 4, k / 5) for channel in channels for k in (1, 2, 3, 4)]
        columns = "channel component explained_variance_ratio singular_value_ratio"
        write_tuples(self.folders.pca / "explained.csv", columns, curve)
        for name in ("components", "reconstruction", "image_components"):
            Image.new("RGB", (30, 10)).save(self.folders.pca / f"{name}.png")
        tried = {"5": {"kl_divergence": 0.5, "trustworthiness": 0.98}}
        space = {"perplexity": 5, "tried": tried}
        self._metric("tsne", {"n_images": 10, "model": "one", "pixels": space, "features": space})
        points = [
            (name, 5, i, self.labels[i], x, -x)
            for name in ("pixels", "features")
            for x, i in enumerate(self.ids)
        ]
        columns = "space perplexity id label x y"
        write_tuples(self.folders.tsne / "chosen.csv", columns, points)
        calibrated = {"calibrated_on": "validation", "n_calibration_images": 40}
        self._metric("novelty", {"model": "one", "threshold": 0.25, **calibrated})
        n_explained = min(self.n_test, 2)
        fraction = 0.3 if n_explained else None
        n_novel = min(self.n_test, 1)
        neighbors = {
            "n_train_images": 20,
            "n_compared": 10,
            "n_per_image": 1,
            "correct": {"agreement": 0.875 if n_explained else None},
            "incorrect": {"agreement_with_predicted": None, "agreement_with_actual": None},
        }
        novelty = {
            "n_images": self.n_test,
            "n_novel": n_novel,
            "expected_fraction": 0.05,
            "novel_fraction": n_novel / self.n_test if n_novel else None,
            "correct": {"novel": 0.0 if n_novel else None, "other": 1.0},
        }
        explained = {
            "model": "one",
            "n_images": n_explained,
            "saliency_in_tenth": fraction,
            "n_correct": n_explained,
            "n_incorrect": 0,
            "n_with_boxes": 2,
            "saliency_in_boxes": 0.6,
            "boxes_area": 0.4,
            "neighbors": neighbors,
            "novelty": novelty,
            **({} if n_explained else {"reason": "there are no test images"}),
        }
        self._metric("explain", explained)
        rows = [
            {
                "id": i,
                "label": self.labels[i],
                "predicted": self.labels[i],
                "rank": 1,
                "neighbor": HOSTILE[0],
                "neighbor_label": self.labels[i],
                "similarity": 0.75,
            }
            for i in self.ids[:n_explained]
        ]
        write_rows(self.folders.explained / "neighbors.csv", rows, columns=COLUMNS)
        if n_explained:
            for name in ("explanations", "neighbors", "filters", "activations"):
                Image.new("RGB", (40, 20)).save(self.folders.explained / f"{name}.png")


EMPTY_ROW = {
    **dict.fromkeys(("split", "group", "boxes", "mode", "sha256", "perceptual_hash")),
    "labels": [],
    "width": SIDE,
    "height": SIDE,
}


def encoded_image(image_id):
    """Encode a small image; its color depends on its id."""
    color = tuple(sum(image_id.encode()) * factor % 256 for factor in (1, 3, 7))
    return pillow(Image.new("RGB", (SIDE, SIDE), color))
