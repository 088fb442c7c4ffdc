"""Stage `evaluate`: measure every model and the stack once, on the test images."""

from pathlib import Path

from classifold.data.json_file import read_json, write_json
from classifold.data.model_settings import PROBE
from classifold.data.predictions import MAJORITY, STACK
from classifold.evaluation.files import write_evaluation
from classifold.evaluation.inference import predict_test_images, read_pixels
from classifold.evaluation.labels import read_labeled_images
from classifold.evaluation.scores import format_test_scores
from classifold.evaluation.seeds import predict_seeds
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
    pixels = read_pixels(images.ids, ingested=INGESTED, model=MODELS / next(iter(listed)))

    common = {
        "models": MODELS,
        "decisions": decisions,
        "device": choose_device(device),
        "test_time": settings["test_time"],
    }
    first_seeds = {name: one["seed"] for name, one in listed.items() if one["network"] != PROBE}
    predictions, untrained = predict_test_images(
        pixels,
        ensemble=Path("ensemble"),
        baseline=before[MAJORITY],
        seeds=first_seeds,
        **common,
    )
    seeds = {
        name: {first_seeds[name]: predictions[name].predicted, **others}
        for name, others in predict_seeds(pixels, **common).items()
    }
    slices = find_slices(
        images.ids,
        pixels,
        ingested=INGESTED,
        duplicates=Path("data/filtered/duplicates.csv"),
        modal_size=read_json(Path("metrics/filter.json"))["modal_size"],
        settings=filtering,
    )
    metrics = summarize(
        predictions,
        images.labels,
        classes=decisions["classes"],
        before=before,
        untrained=untrained,
        seeds=seeds,
        slices=slices,
        calibration_bins=settings["calibration_bins"],
        bootstrap=settings["bootstrap"],
    )

    with new_folder(Path("data/evaluated")) as folder:
        write_evaluation(
            folder,
            predictions,
            images,
            classes=decisions["classes"],
            slices=slices,
            calibration_bins=settings["calibration_bins"],
        )
    write_json(Path("metrics/test.json"), metrics)
    log(f"  stack: {format_test_scores(metrics[STACK])}")


if __name__ == "__main__":
    run_stage(main)
