"""Stage `robustness`: measure every model and the stack on corrupted and attacked test images."""

from pathlib import Path

from classifold.analysis.robustness.conditions import Corrupted, Predicted
from classifold.analysis.robustness.sample import describe_empty, sample_test_images
from classifold.analysis.robustness.summary import (
    format_robustness,
    summarize_robustness,
    write_tables,
)
from classifold.data.metrics_file import write_metrics
from classifold.models.decisions import read_decisions
from classifold.params.reader import read_params
from classifold.runtime.atomic_files import new_folder
from classifold.runtime.progress import log
from classifold.runtime.stage import run_stage


def main() -> None:
    settings, test_time, device = read_params("robustness", "evaluate.test_time", "train.device")
    decisions = read_decisions(Path("data/compared/decisions.json"))
    sample = sample_test_images(
        Path("data/evaluated/predictions.parquet"),
        decisions=decisions,
        n_images=settings["images"],
        seed=settings["seed"],
    )
    reason = describe_empty(sample)
    with new_folder(Path("data/robustness")) as folder:
        corrupted = Corrupted({}, set())
        attacked: dict[str, Predicted] = {}
        image_size = None
        if not reason:
            # Not at the top: without images, the seconds that the import of torch takes are saved.
            from classifold.analysis.robustness.measure import measure  # noqa: PLC0415

            corrupted, attacked, image_size = measure(
                sample.images,
                folder / "corruptions.png",
                ingested=Path("data/ingested"),
                models=Path("models"),
                ensemble=Path("ensemble"),
                decisions=decisions,
                settings=settings,
                device=device,
                test_time=test_time,
            )
        write_tables(folder, corrupted.predictions, attacked, sample.images.labels)
    metrics = summarize_robustness(
        corrupted.predictions,
        attacked,
        sample,
        image_size=image_size,
        equal_to_stack=corrupted.equal_to_stack,
    )
    write_metrics(Path("metrics/robustness.json"), metrics, reason=reason)
    if not reason:
        log(f"  stack: {format_robustness(metrics)}")


if __name__ == "__main__":
    run_stage(main)
