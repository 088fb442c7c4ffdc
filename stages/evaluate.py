"""Stage `evaluate`: measure every model and the stack once, on the test images."""

from pathlib import Path

from classifold.data.json_file import read_json, write_json
from classifold.evaluation.files import write_evaluation
from classifold.evaluation.inference import (
    STACK,
    constant_predictions,
    predict_all,
    read_pixels,
    untrained_logits,
)
from classifold.evaluation.labels import read_labeled_images
from classifold.evaluation.scores import format_test_scores
from classifold.evaluation.slices import find_slices
from classifold.evaluation.summary import summarize
from classifold.models.baseline import MAJORITY
from classifold.models.device import choose_device
from classifold.params.reader import read_params
from classifold.runtime.atomic_files import new_folder
from classifold.runtime.progress import log
from classifold.runtime.stage import run_stage


def main() -> None:
    settings, filtering, listed, device_name = read_params(
        "evaluate", "filter", "models", "train.device"
    )
    device, models, ingested = choose_device(device_name), Path("models"), Path("data/ingested")
    test_time = settings.pop("test_time")
    decisions = read_json(Path("data/compared/decisions.json"))
    before = read_json(Path("metrics/models.json"))
    before[STACK] = read_json(Path("metrics/stack.json"))
    classes, names = decisions["classes"], list(decisions["models"])

    images = read_labeled_images(
        Path("data/split/test.csv"), classes=classes, task=decisions["task"]
    )
    pixels = read_pixels(images.ids, ingested=ingested, model=models / names[0])
    predictions = predict_all(
        pixels,
        models=models,
        ensemble=Path("ensemble"),
        decisions=decisions,
        device=device,
        test_time=test_time,
    )
    predictions[MAJORITY] = constant_predictions(
        len(pixels), decisions=decisions, baseline=before[MAJORITY]
    )
    seeds = {name: listed[name]["seed"] for name in names}
    untrained = untrained_logits(pixels, models=models, seeds=seeds, device=device)
    slices = find_slices(
        images.ids,
        pixels,
        ingested=ingested,
        duplicates=Path("data/filtered/duplicates.csv"),
        modal_size=read_json(Path("metrics/filter.json"))["modal_size"],
        settings=filtering,
    )

    with new_folder(Path("data/evaluated")) as folder:
        write_evaluation(folder, predictions, images, classes=classes, slices=slices, **settings)
    metrics = summarize(
        predictions,
        images.labels,
        before=before,
        untrained=untrained,
        slices=slices,
        **settings,
    )
    write_json(Path("metrics/test.json"), metrics)
    log(f"  stack: {format_test_scores(metrics[STACK])}")


if __name__ == "__main__":
    run_stage(main)
