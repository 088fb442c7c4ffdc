"""Stage `evaluate`: measure every model and the stack once, on the test images."""

from pathlib import Path

from classifold.data.json_file import read_json, write_json
from classifold.data.model_settings import WITHOUT_EPOCHS
from classifold.data.predictions import MAJORITY, STACK
from classifold.evaluation.block_inference import predict_test_images
from classifold.evaluation.files import write_evaluation
from classifold.evaluation.labels import read_labeled_images
from classifold.evaluation.scores import format_test_scores
from classifold.evaluation.slices import find_slices
from classifold.evaluation.summary import summarize
from classifold.models.decisions import read_decisions
from classifold.models.device import choose_device
from classifold.params.reader import read_params
from classifold.runtime.atomic_files import new_folder
from classifold.runtime.progress import log
from classifold.runtime.stage import run_stage

INGESTED, MODELS = Path("data/ingested"), Path("models")


def main() -> None:
    settings, filtering, listed, device = read_params(
        "evaluate", "filter", "models", "train.device"
    )
    decisions = read_decisions(Path("data/compared/decisions.json"))
    before = read_json(Path("metrics/models.json"))
    before[STACK] = read_json(Path("metrics/stack.json"))
    images = read_labeled_images(Path("data/split/test.csv"), decisions=decisions)
    first_seeds = {
        name: one["seed"] for name, one in listed.items() if one["network"] not in WITHOUT_EPOCHS
    }

    with new_folder(Path("data/evaluated")) as folder:
        found = predict_test_images(
            images.ids,
            ingested=INGESTED,
            scratch=folder,
            ensemble=Path("ensemble"),
            baseline=before[MAJORITY],
            seeds=first_seeds,
            models=MODELS,
            decisions=decisions,
            device=choose_device(device),
            test_time=settings["test_time"],
        )
        slices = find_slices(
            images.ids,
            found.luma,
            ingested=INGESTED,
            duplicates=Path("data/filtered/duplicates.csv"),
            modal_size=read_json(Path("metrics/filter.json"))["modal_size"],
            settings=filtering,
        )
        metrics = summarize(
            found.predictions,
            images.labels,
            classes=decisions["classes"],
            before=before,
            untrained=found.untrained,
            seeds={
                name: {first_seeds[name]: found.predictions[name].predicted, **others}
                for name, others in found.seeds.items()
            },
            slices=slices,
            calibration_bins=settings["calibration_bins"],
            bootstrap=settings["bootstrap"],
        )
        write_evaluation(
            folder,
            found.predictions,
            images,
            classes=decisions["classes"],
            slices=slices,
            calibration_bins=settings["calibration_bins"],
        )
    write_json(Path("metrics/test.json"), metrics)
    log(f"  stack: {format_test_scores(metrics[STACK])}")


if __name__ == "__main__":
    run_stage(main)
