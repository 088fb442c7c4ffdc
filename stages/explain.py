"""Stage `explain`: show on which pixels predictions depend, and the nearest training images."""

from pathlib import Path

from classifold.analysis.explain.boxes import read_boxes
from classifold.analysis.explain.explanations import (
    choose_images,
    explain_images,
    explanation_metrics,
)
from classifold.analysis.explain.neighbors import (
    COLUMNS,
    find_neighbors,
    neighbor_metrics,
    neighbor_rows,
    sample_originals,
)
from classifold.analysis.explain.pictures import draw_explanations, draw_layers, draw_neighbors
from classifold.analysis.features import compute_features
from classifold.data.csv_file import write_rows
from classifold.data.metrics_file import write_metrics
from classifold.data.pack import read_pack
from classifold.data.pixels import load_pixels
from classifold.data.predictions import SCHEMA, read_predictions
from classifold.models.device import choose_device
from classifold.models.explained_model import load_explained_model
from classifold.models.feature_cache import FeatureCache
from classifold.params.reader import read_params
from classifold.pictures.reason import draw_reason
from classifold.runtime.atomic_files import new_folder
from classifold.runtime.stage import run_stage


def main() -> None:
    settings, device_name = read_params("explain", "train.device")
    del settings["model"]  # compare selected it
    n_images, layers = (settings.pop(key) for key in ("images", "layers"))
    name, model = load_explained_model(Path("data/explained_model"))
    predictions = read_predictions(Path("data/evaluated/predictions.parquet"), model=name)
    train = read_pack(Path("data/augmented/train")).originals()
    compared = sample_originals(train, seed=settings["seed"])
    model.use_threads()
    device = choose_device(device_name)

    ingested = Path("data/ingested")
    chosen = choose_images(predictions, n_images=n_images)
    reason = None if chosen else "there are no test images"
    ids = [row["id"] for row in chosen]
    pixels = load_pixels(
        ingested,
        ids,
        size=model.preprocessing["pack_size"],
        resize=model.preprocessing["resize"],
    )
    explanations = explain_images(
        model,
        chosen,
        pixels,
        boxes=read_boxes(ingested, ids),
        device=device,
        attribution=settings,
    )
    neighbors = []
    if chosen:
        cache = FeatureCache.of_project(Path())
        neighbors = find_neighbors(
            compute_features(model, pixels, device=device),
            compared,
            compute_features(model, compared.images, device=device, cache=cache),
        )
    rows = neighbor_rows(chosen, neighbors)

    with new_folder(Path("data/explained")) as folder:
        write_rows(folder / "chosen.csv", chosen, columns=SCHEMA.names)
        write_rows(folder / "neighbors.csv", rows, columns=COLUMNS)
        if reason:
            for picture in ("explanations", "neighbors"):
                draw_reason(folder / f"{picture}.png", reason)
        else:
            draw_explanations(folder / "explanations.png", explanations)
            draw_neighbors(folder / "neighbors.png", explanations, neighbors)
            draw_layers(folder, explanations, **layers)
    metrics = explanation_metrics(explanations, model=name)
    metrics |= neighbor_metrics(rows, n_train=len(train.ids), n_compared=len(compared.ids))
    write_metrics(Path("metrics/explain.json"), metrics, reason=reason)


if __name__ == "__main__":
    run_stage(main)
