"""How `ingest` reads common kinds of folders and label tables, as docs/DATA.md describes."""

import io
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from classifold.errors import UserError
from files_in_memory import find

ROOT = Path(__file__).parents[1]

PNG = b"\x89PNG\r\n\x1a\n"


class Kind(NamedTuple):
    """A kind of source, and what becomes of it."""

    name: str  # in Markdown
    files: dict[str, bytes]
    outcome: str  # classes with numbers of images, and splits; or the error, up to a word
    task: str = "single"
    folders: str = "auto"


def images(*folders, n=2, classes=()):
    """Files of a number of images in each folder, or in each of some folders in it."""
    inner = [f"{folder}/{name}" for folder in folders for name in classes] or folders
    return {f"{folder}/{i}.jpg": b"" for folder in inner for i in range(n)}


def pets(*folders):
    return images(*folders, classes=("cat", "dog")) if folders else images("cat", "dog")


def files(*names):
    return dict.fromkeys(names or ("a.jpg", "b.jpg", "c.jpg", "d.jpg"), b"")


def csv(*rows, name="labels.csv", encoding="utf-8"):
    return {name: "\n".join(rows).encode(encoding)}


def parquet(**columns):
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return {"labels.parquet": buffer.getvalue()}


ABCD = ("a.jpg,x", "b.jpg,y", "c.jpg,x", "d.jpg,y")
XY = "x 2, y 2"
BOTH = "cat 4, dog 4; test 4, train 4"
FOLDERS = "error that names dataset.folders"
LAYOUT = "error that names dataset.layout"


def either(name, files, folders, outcome):
    """A kind of folders that is not read without `dataset.folders`, and the same with it."""
    same = f"the same with `dataset.folders: {folders}`"
    return Kind(name, files, FOLDERS), Kind(same, files, outcome, folders=folders)


FOLDER_KINDS = [
    Kind("`cat/`, `dog/`", pets(), "cat 2, dog 2"),
    Kind("`cat/deep/er/`, `dog/`", images("cat/deep/er", "dog"), "cat 2, dog 2"),
    Kind("`cat/images/`, `dog/images/`", images("cat/images", "dog/images"), "cat 2, dog 2"),
    Kind("`cat/`, and an empty `dog/`", images("cat") | {"dog/": b""}, "error that names dog"),
    Kind("`train/`, `test/`", pets("train", "test"), BOTH),
    Kind("`training_set/`, `test_set/`", pets("training_set", "test_set"), BOTH),
    Kind("`seg_train/seg_train/`, `seg_test/seg_test/`, images in `seg_pred/seg_pred/`",
         pets("seg_train/seg_train", "seg_test/seg_test") | images("seg_pred/seg_pred"),
         "cat 4, dog 4; test 4, train 4, unlabelled 2"),
    Kind("`train/`, `eval/`", pets("train", "eval"), BOTH),
    Kind("`Train/`, `Holdout/`", pets("Train", "Holdout"), BOTH),
    Kind("`TRAIN/`, `Held Out/`", pets("TRAIN", "Held Out"), BOTH),
    Kind("`Training/`, `PublicTest/`, `PrivateTest/`",
         pets("Training", "PublicTest", "PrivateTest"), "cat 6, dog 6; test 8, train 4"),
    Kind("`train2017/`, `val2017/`", pets("train2017", "val2017"), BOTH),
    Kind("`train/`, `valid/`, `test/`, and `docs/` without images",
         pets("train", "valid", "test") | {"docs/README.md": b""},
         "cat 6, dog 6; test 4, train 4, validation 4"),
    *either("`train/`, `val/`, and a third folder with images", pets("train", "val", "extra"),
            "split/class", BOTH),
    Kind("`train/cat/`, `train/dog/`, images in `test/`", pets("train") | images("test"),
         "cat 2, dog 2; unlabelled 2"),
    Kind("`train/Cat/`, `train/Dog/`, `test/cat/`, `test/dog/`",
         images("train", classes=("Cat", "Dog")) | pets("test"), "error that names test"),
    Kind("`train/cat/`, `train/dog/`, images in `val/`", pets("train") | images("val"),
         "error that names val"),
    Kind("`cat/train/`, `cat/test/`, `dog/train/`, `dog/test/`",
         images("cat/train", "cat/test", "dog/train", "dog/test"), BOTH),
    *either("`set1/train/cat/`, `set1/test/cat/`, `set2/train/dog/`, `set2/test/dog/`",
            images("set1/train/cat", "set1/test/cat", "set2/train/dog", "set2/test/dog"),
            "any/split/class", BOTH),
    Kind("`cat/train/images/`, `cat/test/images/`, `dog/train/images/`, `dog/test/images/`",
         images("cat", "dog", classes=("train/images", "test/images")), BOTH),
    Kind("`bus/`, `car/`, `train/`", images("bus", "car", "train"), "bus 2, car 2, train 2"),
    Kind("`bullet_train/`, `test_tube/`", images("bullet_train", "test_tube"),
         "bullet_train 2, test_tube 2"),
    Kind("`cat_train/`, `cat_test/`, `dog_train/`, `dog_test/`",
         images("cat_train", "cat_test", "dog_train", "dog_test"), FOLDERS),
    Kind("`yes/`, `no/`, and a copy of them in `brain_tumor_dataset/`",
         images("yes", "no") | images("brain_tumor_dataset", classes=("yes", "no")), FOLDERS),
    *either("`trainingSet/trainingSet/`, `trainingSample/…`, images in `testSet/testSet/`",
            pets("trainingSet/trainingSet", "trainingSample/trainingSample")
            | images("testSet/testSet"), "split/any/class", "cat 4, dog 4; unlabelled 2"),
    Kind("`2023/cherry/`, `2024/cherry/`", images("2023/cherry", "2024/cherry"), FOLDERS),
    Kind("`20230105_143000/cat/`, `20230106_150000/dog/`",
         images("20230105_143000/cat", "20230106_150000/dog"), FOLDERS),
    Kind("`05.01.2023/cat/`, `06.01.2023/dog/`",
         images("05.01.2023/cat", "06.01.2023/dog"), FOLDERS),
    *either("`2023/cat/`, `2023/dog/`, `2024/cat/`, `2024/dog/`", pets("2023", "2024"),
            "any/class", "cat 4, dog 4"),
    Kind("`fold1/` … `fold3/` with the same classes", pets("fold1", "fold2", "fold3"), FOLDERS),
    *either("patients `p1/`, `p2/` with the same classes", pets("p1", "p2"), "group/class",
            "cat 4, dog 4; groups p1 4, p2 4"),
    *either("`cat/images/`, `cat/masks/`, `dog/images/`, `dog/masks/`",
            images("cat", "dog", classes=("images", "masks")), "class/images", "cat 2, dog 2"),
    Kind("`amazon/images/mug/` … `webcam/images/pen/` with the same classes",
         images("amazon/images", "webcam/images", classes=("mug", "pen")), FOLDERS),
    Kind("`2001/`, `2002/` with images (coins, cars)", images("2001", "2002"), "2001 2, 2002 2"),
    Kind("`Name-master/Dataset/0/` … `9/`, images in `Name-master/Examples/`",
         images("Name-master/Dataset", classes="0123456789") | images("Name-master/Examples"),
         FOLDERS),
    Kind("the same with `dataset.folders: Name-master/Dataset/class`",
         images("Name-master/Dataset", classes="01") | images("Name-master/Examples"), "0 2, 1 2",
         folders="Name-master/Dataset/class"),
    *either("`Name-master/data/train/`, `Name-master/data/test/`, images in `Name-master/images/`",
            pets("Name-master/data/train", "Name-master/data/test") | images("Name-master/images"),
            "Name-master/data/split/class", BOTH),
    Kind("`images/` and `annotations/trimaps/` with images",
         images("images", "annotations/trimaps"), FOLDERS),
    Kind("`train/images/`, `valid/images/` (object detection)",
         images("train/images", "valid/images") | {"train/labels/0.txt": b"0 .5 .5 .1 .1"},
         "error that names at least 2 classes"),
    *either("`animals/cat/`, `animals/dog/`, `plants/rose/`",
            images("animals/cat", "animals/dog", "plants/rose"), "any/class",
            "cat 2, dog 2, rose 2"),
    Kind("`cat/2023/`, `cat/2024/`, `dog/2023/`", images("cat/2023", "cat/2024", "dog/2023"),
         "cat 4, dog 2"),
    *either("`Name-master/leaves/healthy/`, `Name-master/leaves/rust/`, `Name-master/docs/img/`",
            images("Name-master/leaves", classes=("healthy", "rust"))
            | images("Name-master/docs/img"), "Name-master/leaves/class", "healthy 2, rust 2"),
    *either("`cat/`, `dog/`, and `docs/`, `assets/`, `venv/` or the like",
            images("cat", "dog", "assets"), "class", "assets 2, cat 2, dog 2"),
    Kind("`photos/`, `screenshots/`", images("photos", "screenshots"), "photos 2, screenshots 2"),
    *either("`cat/`, `dog/`, images beside them", pets() | files("1.jpg"), "class", "cat 2, dog 2"),
    Kind("`cat/`, `dog/`, `Unlabeled/`, `unlabeled_data/`",
         images("cat", "dog", "Unlabeled", "unlabeled_data"), "cat 2, dog 2; unlabelled 4"),
    Kind("`__MACOSX/`, `@eaDir/`, `#recycle/`, `lost+found/`, `.ipynb_checkpoints/`, `Thumbs.db`",
         images("cat", "dog", "__MACOSX/cat", "cat/@eaDir", "#recycle", "lost+found",
            ".ipynb_checkpoints") | {"cat/Thumbs.db": b"", "dog/._1.jpg": b""}, "cat 2, dog 2"),
    Kind("images without extension, or with an unknown one",
         {"cat/1": PNG, "cat/2.jpg_large": PNG, "dog/3.bin": PNG, "dog/4.bin": b"other"},
         "cat 2, dog 1"),
    Kind("class names in composed and decomposed Unicode",
         images("train/cafe\u0301", "train/dog", "test/caf\u00e9", "test/dog"),
         "caf\u00e9 4, dog 4; test 4, train 4"),
    Kind("`cat/`, `Cat/`", images("cat", "Cat"), "Cat 2, cat 2"),
]  # fmt: skip

TRAIN_AND_TEST = {**images("train", n=4), **images("test", n=2)}

TABLE_KINDS = [
    Kind("`path,label`", files() | csv("path,label", *ABCD), XY),
    Kind("`Path,Label`, `FILE_NAME,Class`", files() | csv("FILE_NAME,Class", *ABCD), XY),
    Kind("`Image Index,Finding Labels`, several separated by a vertical bar",
         files() | csv("Image Index,Finding Labels,Age", "a.jpg,x|y,1", "b.jpg,x,2"),
         "x 2, y 1; unlabelled 2", task="multi"),
    Kind("other column names, one beside the paths", files() | csv("picture file,kind", *ABCD), XY),
    Kind("no header", files() | csv(*ABCD), XY),
    Kind("semicolons, or `sep=;` in the first line",
         files() | csv("sep=;", "path;label", *(row.replace(",", ";") for row in ABCD)), XY),
    Kind("tabs", files() | csv("path\tlabel", *(row.replace(",", "\t") for row in ABCD)), XY),
    Kind("UTF-8 with a byte-order mark", files() | csv("\ufeffpath,label", *ABCD), XY),
    Kind("UTF-16, with and without a byte-order mark",
         files() | csv("path,label", *ABCD, encoding="utf-16-le"), XY),
    Kind("Latin-1, Shift JIS, GBK, Windows-1251",
         files() | csv("path,label", "a.jpg,k\u00e4se", encoding="latin-1"),
         "error that names line 2"),
    Kind("quoted fields with commas", files() | csv("path,label", *(
        f'"{row[:5]}","Felis {row[6:]}, adult"' for row in ABCD)),
         "Felis x, adult 2, Felis y, adult 2"),
    Kind("a comma that is not quoted: `a.jpg,Felis catus, adult`",
         files() | csv("path,label", "b.jpg,x", "a.jpg,Felis catus, adult"),
         "error that names line 3"),
    Kind("a row without a label field", files() | csv("path,label", "a.jpg"),
         "error that names line 2"),
    Kind("a quote that is not closed", files() | csv("path,label", 'a.jpg,"x', "b.jpg,y"),
         "error that names line 2"),
    Kind("`NaN`, `NA`, `N/A`, `null`", files() | csv("path,label", "a.jpg,NaN", "b.jpg,NA",
                                                    "c.jpg,x", "d.jpg,y"),
         "x 1, y 1; unlabelled 2"),
    Kind("the same in another case: `Nan`, `<na>`", files()
         | csv("path,label", "a.jpg,Nan", "b.jpg,<na>", "c.jpg,x", "d.jpg,y"),
         "x 1, y 1; unlabelled 2"),
    Kind("`None`", files() | csv("path,label", "a.jpg,None", "b.jpg,x"),
         "None 1, x 1; unlabelled 2"),
    Kind("Parquet with numbers, NaN and null",
         files() | parquet(path=list(files()), label=[0.0, 1.0, float("nan"), None]),
         "0 1, 1 1; unlabelled 2"),
    Kind("a comment before the header: `# made by hand`",
         files() | csv("# made by hand", "path,label", *ABCD), XY),
    Kind("JSON Lines with labels that are text and numbers",
         files() | csv('{"path": "a.jpg", "label": "x"}', '{"path": "b.jpg", "label": 3}',
                      name="labels.jsonl"), "error that names labels.jsonl"),
    Kind("JSON Lines", files("a.jpg", "b.jpg") | csv('{"file_name": "a.jpg", "label": "x"}',
                                  '{"file_name": "b.jpg", "label": "y"}', name="metadata.jsonl"),
         "x 1, y 1"),
    Kind("one column of 0 and 1 per class", files() | csv(
        "image,x,y", "a.jpg,1,0", "b.jpg,0,1", "c.jpg,1.0,0.0", "d.jpg,False,True"), XY),
    Kind("two of them positive", files() | csv("image,x,y", "a.jpg,1,1", "b.jpg,0,1"),
         "error that names dataset.task"),
    Kind("one column of probabilities per class",
         files() | csv("image,x,y", "a.jpg,0.9,0.1", "b.jpg,0.2,0.8"),
         "error that names labels.csv"),
    Kind("1, 0 and -1 (uncertain) in one column per class",
         files() | csv("Path,x,y", "a.jpg,1,0", "b.jpg,-1,1"), "error that names labels.csv"),
    Kind("labels with decimals", files() | csv("path,target", "a.jpg,0.31", "b.jpg,0.27",
                                              "c.jpg,0.5", "d.jpg,0.1"),
         "error that names decimals"),
    Kind("a list in a cell: `['x', 'y']`", files() | csv("path,labels", "a.jpg,\"['x', 'y']\""),
         "error that names line 2"),
    Kind("`./a.jpg`, `.\\a.jpg`", files() | csv("path,label", *(f".\\{row}" for row in ABCD)), XY),
    Kind("ids without extension", files() | csv("id,label", "a,x", "b,y", "c,x", "d,y"), XY),
    Kind("an id of two images", files("a.jpg", "a.png", "b.jpg") | csv("id,label", "a,x", "b,y"),
         "error that names line 2"),
    Kind("names without folder, in `images/`", images("images", n=2)
         | csv("image,label", "0.jpg,x", "1.jpg,y"), "x 1, y 1"),
    Kind("absolute paths: `/home/me/set/images/0.jpg`, `C:\\set\\images\\0.jpg`", images("images")
         | csv("path,label", "/home/me/images/0.jpg,x", "C:\\set\\images\\1.jpg,y"), "x 1, y 1"),
    Kind("URLs", images("images") | csv("path,label", "https://x.org/b/0.jpg?s=1,x",
                                    "https://x.org/c/1.jpg,y"), "x 1, y 1"),
    Kind("another case: `A.JPG` for `a.jpg`",
         files() | csv("path,label", *(row.replace("jpg", "JPG") for row in ABCD)), XY),
    Kind("composed and decomposed Unicode in names", files("cafe\u0301.jpg", "b.jpg")
         | csv("path,label", "caf\u00e9.jpg,x", "b.jpg,y"), "x 1, y 1"),
    Kind("labels of images that are absent",
         files() | csv("path,label", *ABCD, "e.jpg,x", "f.jpg,z"),
         "x 2, y 2; 2 labels without an image"),
    Kind("`train.csv`, `sample_submission.csv`, ids of images in `train/` and `test/`",
         TRAIN_AND_TEST | csv("id,label", "0,x", "1,y", "2,x", "3,y", name="train.csv")
         | csv("id,label", "0,x", "1,x", name="sample_submission.csv"),
         "x 2, y 2; unlabelled 2"),
    Kind("the same with `sample_sub.csv`",
         TRAIN_AND_TEST | csv("id,label", "0,x", "1,y", "2,x", "3,y", name="train.csv")
         | csv("id,label", "0,x", "1,x", name="sample_sub.csv"), "x 2, y 2; unlabelled 2"),
    Kind("`train/_classes.csv`, `test/_classes.csv` with one column per class",
         images("train", "test") | csv("filename, x, y", "0.jpg,1,0", "1.jpg,0,1",
                                   name="train/_classes.csv")
         | csv("filename, x, y", "0.jpg,1,0", "1.jpg,0,1", name="test/_classes.csv"),
         "x 2, y 2; test 2, train 2"),
    Kind("a column `split`, `is_valid` or `data set`", files() | csv(
        "path,label,data set", "a.jpg,x,train", "b.jpg,y,train", "c.jpg,x,test", "d.jpg,y,test"),
         "x 2, y 2; test 2, train 2"),
    Kind("an image in `train.csv` and in `test.csv`",
         files() | csv("path,label", *ABCD, name="train.csv")
         | csv("path,label", "a.jpg,x", name="test.csv"), "error that names a.jpg"),
    Kind("`mistakes.csv` of some images, class folders, and images beside them",
         pets() | files("1.jpg") | csv("id,label", "cat/0.jpg,cat", name="mistakes.csv"),
         "error that names dataset.layout"),
    Kind("several labels separated by a semicolon, in `multi`",
         files() | csv("path,labels", "a.jpg,x;y", "b.jpg,x", "c.jpg,y"),
         "error that names x;y", task="multi"),
    Kind("several rows per image, in `multi`", files("a.jpg", "b.jpg")
         | csv("ImageID,LabelName,Confidence", "a,x,1", "a,y,1", "b,x,0", "b,y,1"),
         "x 1, y 2", task="multi"),
    Kind("a table of ISIC, with folders `ISIC_Training_Input/`, `ISIC_Test_Input/`",
         images("ISIC_Training_Input", n=2) | {"ISIC_Test_Input/7.jpg": b""}
         | csv("image,MEL,NV", "0,1.0,0.0", "1,0.0,1.0", name="ISIC_Training_GroundTruth.csv")
         | csv("image,age,sex", "0,30,male", "1,40,female", name="ISIC_Training_Metadata.csv"),
         "MEL 1, NV 1; unlabelled 1"),
    Kind("folders `part_1/`, `part_2/` and a table of all images",
         images("part_1", "part_2") | csv("path,dx", "part_1/0.jpg,x", "part_1/1.jpg,y",
                                      "part_2/0.jpg,x", "part_2/1.jpg,y"), XY),
    Kind("class folders and a table that agrees", pets()
         | csv("path,label", "cat/0.jpg,cat", "cat/1.jpg,cat", "dog/0.jpg,dog", "dog/1.jpg,dog"),
         "cat 2, dog 2"),
    Kind("class folders and a table that names them otherwise", images("x1", "x2")
         | csv("path,label", "x1/0.jpg,oak", "x1/1.jpg,oak", "x2/0.jpg,elm", "x2/1.jpg,elm"),
         "elm 2, oak 2"),
    Kind("class folders and a table that contradicts them", pets()
         | csv("path,label", "cat/0.jpg,dog", "cat/1.jpg,cat", "dog/0.jpg,dog", "dog/1.jpg,dog"),
         LAYOUT),
    Kind("class folders and a table of some images (`mistakes.csv`)",
         pets() | csv("id,label,predicted", "cat/0.jpg,cat,dog", name="mistakes.csv"), LAYOUT),
    Kind("class folders and a text file of numbers",
         {"cat/1.jpg": b"", "dog/2.jpg": b"", "version.txt": b"1"}, LAYOUT),
    Kind("class folders and a table of other things (`path,width`)",
         pets() | csv("path,width", "cat/0.jpg,3", "dog/0.jpg,4"), "cat 2, dog 2"),
    Kind("class folders in `train/`, and a table for the images in `val/`",
         pets("train") | images("val")
         | csv("path,label", "0.jpg,cat", "1.jpg,dog", name="val.csv"), "cat 3, dog 3; test 2"),
    Kind("`labels.xlsx`, `labels.json`", files() | {"labels.xlsx": b""},
         "error that names labels.xlsx"),
]  # fmt: skip


def outcome(kind):
    """Describe what the source of a kind is read as, as in the table."""
    try:
        source = find(kind.files, task=kind.task, folders=kind.folders)
    except UserError as error:
        expected = kind.outcome.removeprefix("error that names ")
        return f"error that names {expected if expected in str(error) else error}"
    labels = Counter(label for image in source.images for label in image.labels)
    text = _listed(labels)
    parts = [
        _listed(Counter(image.split for image in source.images if image.split)),
        _listed(Counter(image.group for image in source.images if image.group), "groups "),
        f"{len(source.missing)} labels without an image" if source.missing else "",
    ]
    return "; ".join(filter(None, (text, *parts)))


def _listed(counts, start=""):
    text = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
    return start + text if text else ""


@pytest.mark.parametrize("kind", FOLDER_KINDS, ids=lambda kind: kind.name)
def test_folders_are_read_or_refused(kind):
    assert outcome(kind) == kind.outcome


@pytest.mark.parametrize("kind", TABLE_KINDS, ids=lambda kind: kind.name)
def test_tables_are_read_or_refused(kind):
    assert outcome(kind) == kind.outcome


@pytest.mark.parametrize(
    ("title", "kinds"),
    [("Kinds of folders", FOLDER_KINDS), ("Kinds of tables", TABLE_KINDS)],
    ids=["folders", "tables"],
)
def test_the_documentation_has_a_row_per_kind(title, kinds):
    text = (ROOT / "docs/DATA.md").read_text(encoding="utf-8")
    section = re.search(rf"^### {title}\n(.*?)(?=^##)", text, re.DOTALL | re.MULTILINE)[1]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    assert rows[2:] == [row(kind) for kind in kinds]


def row(kind):
    result = re.sub(r"names (dataset\.\w+|[\w.]+\.\w+)$", r"names `\1`", kind.outcome)
    settings = " (`dataset.task: multi`)" if kind.task == "multi" else ""
    return f"| {kind.name}{settings} | {result} |"
