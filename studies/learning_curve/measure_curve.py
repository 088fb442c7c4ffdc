"""Measure a score for more and more training images, and predict that of twice as many."""

from pathlib import Path

from classifold.data.json_file import write_json
from classifold.data.metrics import MAIN_METRIC
from classifold.errors import in_section
from classifold.learning_curve.curve import describe_curve, measure_curve
from classifold.learning_curve.description import describe_fit, describe_probe
from classifold.learning_curve.figure import draw_curve
from classifold.learning_curve.params import CURVE_PARAMS, check_curve_params, count_half
from classifold.learning_curve.scores import measure_terms
from classifold.params.reader import read_params
from classifold.runtime.atomic_files import new_folder
from classifold.runtime.progress import log
from classifold.runtime.stage import run_stage
from classifold.training.setup import prepare

STUDY = Path("studies/learning_curve")
PACKS = Path("data/augmented")


def main() -> None:
    check_curve_params()
    study = read_params("measure_curve", path=CURVE_PARAMS)
    settings, models = read_params("train", "models")
    with in_section("measure_curve.model"):
        training = prepare(settings, study["model"], packs=PACKS)
        terms = measure_terms(
            training,
            n_parts=study["parts"],
            sizes=study["sizes"],
            seeds=study["seeds"],
            seed=study["seed"],
        )
    validation = training.validation
    curve = measure_curve(
        terms,
        validation.groups or validation.ids,
        n_half=count_half(study["sizes"], n_parts=study["parts"]),
        seed=study["seed"],
    )
    metric = MAIN_METRIC[validation.task]
    described = describe_curve(curve)
    with new_folder(STUDY / "made") as folder:
        draw_curve(folder / "curve.png", curve, metric=metric.replace("_f1", " F1"))
    write_json(
        STUDY / "metrics/measure_curve.json",
        {
            "metric": metric,
            "network": study["model"]["arguments"]["name"],
            "n_train_images": int(curve.n_images[-1]),
            "n_validation_images": len(validation.labels),
            **described,
        },
    )
    for line in (*describe_fit(described), *describe_probe(models)):
        log(f"  {line}")


if __name__ == "__main__":
    run_stage(main)
