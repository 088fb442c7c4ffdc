"""Each layout reads images, labels and splits from names of files and from tables."""

import io
import zipfile
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from classifold.errors import UserError
from classifold.ingest import table_files
from classifold.ingest.detection import find_source
from classifold.ingest.files import HIDDEN
from classifold.ingest.formats import EXTENSIONS
from classifold.ingest.layout import SourceImage
from classifold.ingest.split_names import is_unlabeled, split_name
from classifold.ingest.tree import open_tree
from files_in_memory import find

REAL = Path(__file__).parents[1].parent / "shared" / "data"


def labels_of(source):
    """Image -> its labels, and in brackets its split if it has one: "cat|dog [train]"."""
    assert not [image for image in source.images if "" in image.labels]
    return {
        image.id: " ".join(
            filter(None, ["|".join(image.labels), image.split and f"[{image.split}]"])
        )
        for image in source.images
    }


def pictures(*names, **texts):
    return dict.fromkeys(names, b"") | texts


def find_listed(table, *, n=2, **options):
    """Find the images 1.png to `n`.png, which `t.csv` lists."""
    return find(pictures(*(f"{i}.png" for i in range(1, n + 1))) | {"t.csv": table}, **options)


# folder


# The labels of each image; None for a file that is not one.
FOLDERS = [
    {"cat/1.png": "cat", "dog/2.JPG": "dog"},
    {"data/pets/cat/1.png": "cat", "data/pets/dog/2.png": "dog"},
    {"cat/1.png": "cat", "cat/tabby/2.png": "cat", "dog/x/y/3.png": "dog"},  # below their class
    {"cat/1.png": "cat", "Cat/1.png": "Cat"},  # capitals distinguish classes
    {"cat/1.png": "cat", "dog/2.png": "dog", "unlabelled/3.png": "[unlabelled]"},
    {
        "cat/1.png": "cat",
        "dog/2.png": "dog",
        "cat/notes.md": None,
        "README": None,
        # What systems leave behind.
        ".DS_Store": None,
        "cat/._1.png": None,
        "__MACOSX/cat/1.png": None,
        ".git/dog/2.png": None,
        "cat/png": None,
    },
    # Pictures of unsupported formats are not ignored.
    {"cat/1.heic": "cat", "dog/2.svg": "dog", "dog/3.nef": "dog"},
    # A train folder alone is a wrapper, also with unlabeled images: no official split is left.
    {"train/a/1.png": "a", "train/b/1.png": "b"},
    {"train/a/1.png": "a", "train/b/1.png": "b", "unlabelled/1.png": "[unlabelled]"},
    {
        "x/Train/a/1.png": "a [train]",
        "x/Train/b/1.png": "b [train]",
        "x/VAL/a/1.png": "a [validation]",
        "x/Testing/b/1.png": "b [test]",
    },
    # Without a test split the validation images are the test images.
    {"train/a/1.png": "a [train]", "train/b/1.png": "b [train]", "val/a/1.png": "a [test]"},
    # So are they if the test folder has no classes: its images are unlabeled.
    {
        "train/a/1.png": "a [train]",
        "train/b/1.png": "b [train]",
        "dev/a/1.png": "a [test]",
        "test/7.png": "[unlabelled]",
        "test/images/8.png": "[unlabelled]",
    },
    {
        "train/a/1.png": "a [train]",
        "train/b/1.png": "b [train]",
        "test/a/1.png": "a [test]",
        "train/unlabelled/1.png": "[unlabelled]",
    },
    {"test/1.png": "test", "other/2.png": "other"},  # without train it is a class
]


@pytest.mark.parametrize("expected", FOLDERS)
def test_folders_are_classes_and_splits(expected):
    source = find(list(expected))
    assert source.layout == "folder"
    assert labels_of(source) == {k: labels for k, labels in expected.items() if labels is not None}


def test_every_extension_that_is_decoded_is_an_image():
    names = [f"{folder}/1{extension}" for folder in "ab" for extension in EXTENSIONS]
    assert len(find(names).images) == len(names)


def test_words_name_the_class_folders():
    words = b"n1\ttabby, tabby cat\nn2\tpug, pug-dog\nn3\tnobody, is here\nbroken line\nn4\t\n"
    source = find({"n1/1.png": b"", "n2/1.png": b"", "n4/1.png": b"", "words.txt": words})
    assert [image.labels for image in source.images] == [("tabby",), ("pug",), ("n4",)]


@pytest.mark.parametrize(
    ("words", "labels"),
    [
        (b"n1\tmaillot\nn2\tmaillot, tank suit", ["maillot", "maillot, tank suit"]),
        # The bird and the machine, in ImageNet.
        (b"n1\tcrane\nn2\tcrane", ["crane (n1)", "crane (n2)"]),
        (b"n1\tn2, a folder", ["n2 (n1)", "n2"]),
    ],
)
def test_two_classes_stay_two_whatever_names_they_share(words, labels):
    source = find({"n1/1.png": b"", "n2/1.png": b"", "words.txt": words})
    assert [image.labels[0] for image in source.images] == labels


# annotations


LISTS = {
    **pictures("photos/images/im1.jpg", "photos/images/im2.jpg", "photos/images/im03.jpg"),
    **pictures("photos/images/title.jpg", "photos/unlabelled/im1.jpg"),
    "photos/annotations/dog.txt": b"1\n3\n",
    "photos/annotations/sea.txt": b"3 1 99\r\n",
    "photos/README.txt": b"about 3 photos",
}


def test_lists_of_numbers_label_their_images_with_any_number_of_labels():
    source = find(LISTS, task="multi")
    assert source.layout == "annotations"
    assert labels_of(source) == {
        "photos/images/im1.jpg": "dog|sea",
        "photos/images/im2.jpg": "",
        "photos/images/im03.jpg": "dog|sea",
        "photos/images/title.jpg": "",
        "photos/unlabelled/im1.jpg": "[unlabelled]",
    }
    assert "2 images are on no list: they have no label" in source.remarks
    reason = "photos/annotations/sea.txt lists it, but there is no such image"
    assert source.missing == [("99", reason)]


def test_in_a_single_task_an_image_on_no_list_is_unlabeled():
    assert labels_of(find(LISTS | {"photos/annotations/sea.txt": b"2"})) == {
        "photos/images/im1.jpg": "dog",
        "photos/images/im2.jpg": "sea",
        "photos/images/im03.jpg": "dog",
        "photos/images/title.jpg": "[unlabelled]",
        "photos/unlabelled/im1.jpg": "[unlabelled]",
    }


def test_two_images_of_one_number_are_refused():
    with pytest.raises(UserError, match=r"'a/im1\.jpg' and 'b/im01\.png' of here have the same nu"):
        find({"a/im1.jpg": b"", "b/im01.png": b"", "lists/dog.txt": b"1"})


def test_text_files_of_numbers_in_several_folders_are_not_lists():
    source = find(pictures("a/1.png", "b/1.png") | {"a/x.txt": b"1", "b/x.txt": b"1"})
    assert source.layout == "folder"


# tiny-imagenet


TINY = {
    "tiny/wnids.txt": b"n1\nn2\n",
    "tiny/words.txt": b"n1\tEgyptian cat\nn2\tox, cattle\nn3\tox\n",
    "tiny/train/n1/n1_boxes.txt": b"n1_0.JPEG\t0\t1\t62\t63\n",
    "tiny/train/n1/images/n1_0.JPEG": b"",
    "tiny/train/n1/images/n1_1.JPEG": b"",
    "tiny/train/n2/images/n2_0.JPEG": b"",
    "tiny/val/val_annotations.txt": b"v0.JPEG\tn2\t4\t5\t6\t7\nv9.JPEG\tn1\t1\t2\t3\t4\n",
    "tiny/val/images/v0.JPEG": b"",
    "tiny/test/images/t0.JPEG": b"",
}


@pytest.mark.parametrize("layout", ["auto", "tiny-imagenet"])
def test_tiny_imagenet_is_read_as_it_is_distributed(layout):
    source = find(TINY, layout=layout)
    assert source.layout == "tiny-imagenet"
    assert source.images == [
        SourceImage("tiny/test/images/t0.JPEG", (), "unlabelled"),
        SourceImage(
            "tiny/train/n1/images/n1_0.JPEG", ("Egyptian cat",), "train", boxes=((0, 1, 62, 63),)
        ),
        SourceImage("tiny/train/n1/images/n1_1.JPEG", ("Egyptian cat",), "train"),
        SourceImage("tiny/train/n2/images/n2_0.JPEG", ("ox",), "train"),
        SourceImage("tiny/val/images/v0.JPEG", ("ox",), "test", boxes=((4, 5, 6, 7),)),
    ]
    assert source.missing == [
        ("tiny/val/images/v9.JPEG", "val_annotations.txt lists it, but there is no such image")
    ]
    assert "2 images have bounding boxes" in source.remarks


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("train/n1/n1_boxes.txt", b"n1_0.JPEG 0 1 62 63\n", r"line 1 .* 5 columns .* got 1"),
        ("train/n1/n1_boxes.txt", b"n1_0.JPEG\t0\t1\t62\tx\n", r"four integers .* got '0 1 62 x'"),
        ("val/val_annotations.txt", b"v0.JPEG\tn3\t4\t5\t6\t7\n", r"'v0.JPEG' .*, got 'n3'"),
        ("wnids.txt", b"n1", r"wnids\.txt: .*'tiny/train/n2/.* not listed"),
        ("val/val_annotations.txt", None, r"val_annotations\.txt cannot be read \(a broken link"),
    ],
)
def test_an_invalid_file_of_tiny_imagenet_is_an_error_that_names_it(file, content, message):
    with pytest.raises(UserError, match=message):
        find(TINY | {f"tiny/{file}": content})


# table


def parquet_file(**columns):
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


EXPECTED = {"data/1.png": "cat", "data/sub/ü,2.png": "dog", "data/3.png": "[unlabelled]"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("data/t.csv", 'path,label\n1.png,cat\n"sub/ü,2.png",dog\n3.png,\n'),
        ("data/t.csv", '"path","label"\n"1.png","cat"\n"sub/ü,2.png","dog"\n'),
        ("t.csv", 'file_name,x,label\ndata/1.png,0,cat\n"data/sub/ü,2.png",0,dog\n'),
        ("data/t.csv", '\ufeffimage;category\r\n1.png; cat \r\n\r\n"./sub/ü,2.png";dog\r\n'),
        ("data/t.tsv", "filename\tclass\n1.png\tcat\nsub\\ü,2.png\tdog\n"),
        ("data/metadata.csv", 'label,file_name\ncat,1.png\ndog,"sub/ü,2.png"\n'),
        ("data/t.parquet", {"path": ["1.png", "sub/ü,2.png"], "label": ["cat", "dog"]}),
        ("data/t.parquet", {"id": ["1.png", "sub/ü,2.png"], "target": [["cat"], ["dog"]]}),
        ("data/t.parquet", {"image": [{"bytes": b"", "path": "1.png"},
                                      {"bytes": b"", "path": "sub/ü,2.png"}],
                            "label": ["cat", "dog"]}),
    ],
    ids=["an empty label", "quotes", "other columns", "semicolons", "TSV", "label first",
         "Parquet", "lists of labels", "images in Parquet"],
)  # fmt: skip
@pytest.mark.promise("layouts")
def test_a_table_labels_the_images_that_it_lists(name, content):
    content = parquet_file(**content) if isinstance(content, dict) else content.encode()
    source = find(pictures(*EXPECTED) | {name: content})
    assert source.layout == "table"
    assert labels_of(source) == EXPECTED
    assert source.missing == []


@pytest.mark.parametrize(
    ("content", "task", "expected"),
    [
        (
            b"path,labels\n1.png,dog|cat\n2.png, cat | cat |\n3.png,\n",
            "multi",
            ["cat|dog", "cat", "", "[unlabelled]"],
        ),
        (b"path,label\n1.png,a\n2.png,b\n1.png,a\n", "single", ["a", "b"]),  # an equal row
    ],
)
def test_cells_of_a_table_are_labels(content, task, expected):
    source = find_listed(content, n=len(expected), layout="table", task=task)
    assert list(labels_of(source).values()) == expected


@pytest.mark.parametrize("comments", [b"# by me\n#, with care\n", b"# by me\n#"])
def test_comments_before_the_header_are_skipped(comments):
    source = find_listed(comments + b"path,label\n1.png,a\n2.png,b\n", n=2, layout="table")
    assert list(labels_of(source).values()) == ["a", "b"]


def test_classes_may_be_numbers():
    columns = {"path": ["1.png", "2.png", "3.png"], "label": [0, 1, None]}
    source = find(pictures("1.png", "2.png", "3.png") | {"t.parquet": parquet_file(**columns)})
    assert labels_of(source) == {"1.png": "0", "2.png": "1", "3.png": "[unlabelled]"}


def test_a_table_may_have_splits_and_groups():
    table = (
        b"path,label,split,group\n1.png,a,Train,p1\n2.png,b,train,\n"
        b"3.png,a,valid,p1\n4.png,b,test,p2\n5.png,b,unlabelled,p2\n6.png,a,,p3\n"
    )
    assert [(image.split, image.group) for image in find_listed(table, n=6).images] == [
        ("train", "p1"), ("train", None), ("validation", "p1"), ("test", "p2"),
        ("unlabelled", None), (None, "p3"),
    ]  # fmt: skip


def test_tables_named_after_splits_assign_their_images_to_them():
    tables = {
        "train.csv": b"path,label\nx/1.png,a\nx/2.png,b\n",
        "Test.csv": b"path,label\nx/3.png,a\n",
        "sizes.csv": b"path,width\nx/1.png,3\n",
    }
    found = labels_of(find(pictures("x/1.png", "x/2.png", "x/3.png", "x/4.png") | tables))
    assert list(found.values()) == ["a [train]", "b [train]", "a [test]", "[unlabelled]"]


def test_files_that_a_table_lists_and_that_do_not_exist_are_missing():
    table = b"path,label\n1.png,a\n2.png,b\n../../etc/passwd,a\n9.png,b\n"
    reason = "t.csv lists it, but there is no such image"
    assert find_listed(table).missing == [("../../etc/passwd", reason), ("9.png", reason)]


def test_images_in_no_row_are_counted_unless_their_folders_are_classes():
    images = pictures("train/a/1.png", "train/a/2.png", "train/b/3.png", "train/b/4.png")
    images |= pictures("test/5.png")
    added = find(images | {"t.csv": b"path,label\ntest/5.png,a\n"})
    assert labels_of(added)["train/b/3.png"] == "b"
    assert labels_of(added)["test/5.png"] == "a [test]"
    assert added.n_unlisted == 0
    assert any("added to those of the class folders" in remark for remark in added.remarks)
    assert not any("in no row" in remark for remark in added.remarks)
    table = b"path,label\ntrain/a/1.png,x\ntrain/b/3.png,y\n"
    alone = find(images | {"t.csv": table}, layout="table")
    assert alone.n_unlisted == 3
    assert any(remark.startswith("3 images are in no row") for remark in alone.remarks)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"path,label\n1.png,a\n2.png,b\n1.png,b\n", r"t\.csv: line 4 lists '1\.png' .* Keep one"),
        (
            b"path,label,split\n1.png,a,tset\n",
            r"t\.csv: the split of '1\.png' .*train.* got 'tset'\. Correct line 2",
        ),
        (b"path,label\nx.png,a\n", r"t\.csv: none of 1 paths .* got 'x\.png'\. Paths are"),
        (b"path,label\n", r"t\.csv: .* no rows\. .*correct dataset\.layout"),
        (b"path,label\n1.png,\xff\n", r"t\.csv: .*UTF-8 .*Save it as UTF-8"),
        (b"path,label\n1.png,a|b\n2.png,a", r"dataset\.task: 1 images .* got single\. .*multi"),
        (b"x,kind\n1.gif,a\n", r"dataset\.layout: .*no CSV, .* got table.*no column of paths"),
        (None, r"t\.csv cannot be read \(a broken link\)\. Fix"),
    ],
    ids=[
        *("a path twice", "an unknown split", "other paths", "no rows", "no UTF-8"),
        *("several labels", "no paths", "a broken link"),
    ],
)
def test_an_invalid_table_is_an_error(table, message):
    with pytest.raises(UserError, match=message):
        find_listed(table, layout="table")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"# by me\n#, with care\npath,label\n1.png,a\n2.png\n", "line 5 must have 2 fields"),
        (b"# by me\n#path,label\n1.png,a\n2.png\n", "line 4 must have 2 fields"),
        (
            b'path,label,note\n1.png,a,"two\nlines"\n\n2.png,b\n',
            r"line 5 must have 3 fields .* got 2: '2\.png,b'",
        ),
    ],
)
def test_lines_are_counted_with_comments_and_with_line_breaks_in_fields(table, message):
    with pytest.raises(UserError, match=rf"t\.csv: {message}"):
        find_listed(table)


@pytest.mark.parametrize(
    ("limit", "message"),
    [("MAX_ROWS", "rows .* got 1,000 rows"), ("MAX_BYTES_UNPACKED", "bytes, got 1,000 rows")],
)
@pytest.mark.promise("limit-parquet")
def test_a_parquet_file_of_kilobytes_with_millions_of_rows_is_refused(monkeypatch, limit, message):
    monkeypatch.setattr(table_files, limit, 999)
    content = parquet_file(path=[f"{i}.png" for i in range(1000)], label=["a"] * 1000)
    with pytest.raises(UserError, match=rf"t\.parquet: .* at most .*999 {message}"):
        find(pictures("1.png") | {"t.parquet": content})


def test_a_damaged_parquet_file_is_an_error():
    whole = parquet_file(path=["1.png", "2.png"] * 500, label=["a", "b"] * 500)
    spoilt = whole[:4] + bytes(60) + whole[64:]
    with pytest.raises(UserError, match=r"t\.parquet"):
        find(pictures("1.png", "2.png") | {"t.parquet": spoilt}, layout="table")


# all


VAL_AND_TEST = r"dataset\.folders: the folders test, val .* add train"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], r"dataset\.path: here has 0 files and no image.* one folder per class"),
        (["cat/1.txt"], r"dataset\.path: here has 1 files and no image"),
        (["cat.zip", "dog.zip"], r"no image among them\. .* Unpack cat\.zip"),
        (
            ["1.png", "cat/2.png", "dog/3.png"],
            r"dataset\.path: 1 of 3 images in the top folder .* set dataset\.folders to class",
        ),
        (["cat/1.png", "cat/2.png"], r"dataset\.path: .*at least 2 classes, got 1 \(cat\)"),
        (["cat/1.png", "unlabelled/2.png"], r"at least 2 classes, got 1 \(cat\)"),
        (["unlabelled/1.png", "unlabelled/2.png"], r"at least 2 classes, got 0 \(none\)"),
        (["a|b/1.png", "c/2.png"], r"dataset\.path: .*'\|'.* got 'a\|b' in here\. Rename"),
        (
            ["train/a/1.png", "train/b/1.png", "test/b/1.png", "test/c/1.png"],
            r"dataset\.path: here has no training image of class 'c'.*Add",
        ),
        (
            ["train/a/1.png", "train/b/1.png", "val/1.png"],
            "1 of 1 images in 'val' of here are in no",
        ),
        # Errors have the remarks, too.
        (["cat/1.png", "dog/"], r"got 1 \(cat\).* Remarks: class folders .*: dog\."),
        ([f"{split}/{label}/1.png" for split in ("val", "test") for label in "ab"], VAL_AND_TEST),
        (["val/1.png", "test/1.png"], VAL_AND_TEST),
        (["val/val_cat/1.png", "test/test_cat/1.png"], VAL_AND_TEST),
        *(
            (
                [f"{split}/{label}/1.png" for split in names for label in ("cat", "dog")],
                r"dataset\.folders.*rename them to train, .* test\.",  # in other words
            )
            for names in (("entrenar", "probar"), ("trains", "tests"), ("development", "hold-out"))
        ),
    ],
)
def test_a_source_that_no_classifier_can_be_trained_on_is_an_error(files, message):
    with pytest.raises(UserError, match=message):
        find(files)


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ("tiny-imagenet", r"dataset\.layout: here lacks wnids\.txt .* got tiny-imagenet"),
        ("annotations", r"dataset\.layout: .*no text file of image numbers.* got annotations"),
        ("table", r"dataset\.layout: here has no CSV, .* got table"),
    ],
)
def test_a_layout_that_the_source_does_not_have_is_an_error(layout, message):
    with pytest.raises(UserError, match=message):
        find(["cat/1.png", "dog/1.png"], layout=layout)


def test_a_layout_that_is_set_is_not_detected():
    files = {"cat/1.png": b"", "dog/2.png": b"", "t.csv": b"path,label\ncat/1.png,x\n"}
    assert labels_of(find(files, layout="folder")) == {"cat/1.png": "cat", "dog/2.png": "dog"}


def test_classes_are_listed_with_counts_and_empty_class_folders_are_named():
    files = pictures("cat/1.png", "cat/2.png", "dog/1.png", "emu/notes.txt") | {"fox/": b""}
    remarks = find(files).remarks
    assert "2 classes: cat 2, dog 1" in remarks
    assert "class folders without an image: emu, fox" in remarks


def test_classes_that_differ_only_in_case_are_remarked():
    remarks = find(["Cat/1.png", "cat/1.png", "dog/1.png"]).remarks
    assert any("'Cat' and 'cat' differ only in case" in remark for remark in remarks)


def test_very_many_classes_are_counted_but_not_all_listed():
    [remark] = find([f"class{i:03}/1.png" for i in range(120)]).remarks
    assert remark.startswith("120 classes: class000 1, ")
    assert remark.endswith("class099 1 and 20 others, which metrics/ingest.json lists")


def test_files_that_are_no_images_are_ignored_with_a_reason():
    files = pictures("cat/1.png", "dog/2.png", "cat/.3.png", "@eaDir/4.png", "dog/Thumbs.db")
    files |= {"cat/notes.txt": b"", "cat/data.bin": b"\0\1", "dog/photo": b"\xff\xd8\xff\xe0"}
    source = find(files)
    reasons = {item.id: item.reason for item in source.ignored}
    assert reasons == {
        **dict.fromkeys(["cat/.3.png", "@eaDir/4.png", "dog/Thumbs.db"], HIDDEN),
        "cat/notes.txt": "not an image by its extension",
        "cat/data.bin": "not an image by its first bytes",
    }
    assert labels_of(source)["dog/photo"] == "dog"
    assert any(remark.startswith("5 ignored files: ") for remark in source.remarks)


def test_lists_of_official_splits_that_are_not_read_are_named():
    names = ["images/cat/1.png", "images/dog/2.png", "meta/train.txt", "meta/test.json"]
    names += ["labels/test_01.txt", "meta/trains.txt", "meta/classes.txt"]
    [remark] = [text for text in find(pictures(*names)).remarks if "not read" in text]
    assert remark.startswith("meta/test.json, meta/train.txt: named after official splits")


def test_files_with_labels_are_not_ignored():
    source = find_listed(b"path,label\n1.png,a\n2.png,b\n")
    assert (list(source.used), list(source.ignored)) == (["t.csv"], [])


def test_images_outside_of_the_pattern_are_ignored_with_a_reason():
    files = ["x/cat/1.png", "x/dog/2.png", "y/emu/3.png", "x/4.png"]
    source = find(files, folders="x/class")
    assert labels_of(source) == {"x/cat/1.png": "cat", "x/dog/2.png": "dog"}
    assert dict(source.ignored) == {
        "y/emu/3.png": "in no folder that dataset.folders describes",
        "x/4.png": "in no class folder that dataset.folders describes",
    }


@pytest.mark.parametrize(
    ("names", "setting"),
    [
        ("2023/a/1 2023/b/1 2024/a/1", "any/class"),
        ("z/2023/a/1 z/2023/b/1 z/2024/a/1", "z/any/class"),
        ("p1/a/1 p1/b/1 p2/a/1 p2/b/1", "group/class"),
        ("train/a/1 test/a/1 more/a/1", "split/class"),
        ("train/a/1 train/b/1 test/a/1 1", "split/class"),
        ("m/Dataset/0/1 m/Dataset/1/1 m/Demo/1", "m/Dataset/class"),
        ("a/train/1 a/test/1 b/1", "class/split"),
        ("x/train/a/1 x/test/a/1 y/train/b/1", "any/split/class"),
        ("images/train/a/1 images/test/a/1 masks/train/b/1", "images/split/class"),
        ("x/z/train/a/1 x/z/test/a/1 y/z/train/b/1 y/z/test/b/1", "any/any/split/class"),
        ("train/train/a/1 train/train/b/1 test/1 x/1", "split/any/class"),
        ("yes/1 no/1 copy/yes/1 copy/no/1", "copy/class"),
        ("train/2023/a/1 train/2024/b/1 test/2023/a/1", "split/any/class"),
        ("z/train/x/a/1 z/train/x/b/1 z/train/data/1 z/test/1", "z/split/class"),
        ("m/set/a/1 m/set/b/1 m/logo", "m/set/class"),
        ("m/x/a/1 m/x/b/1 m/docs/img/1", "m/x/class"),
        ("m/x/a/1 m/x/b/1 m/app/static/icons/1", "m/x/class"),
        ("m/x/a/1 m/x/b/1 m/y/c/1", "m/any/class"),
        ("m/x/a/1 m/x/b/1 m/docs/c/1 m/docs/d/1", "m/x/class"),
        ("m/a/1 m/b/1 m/Assets/1", "m/class"),
        ("a/1 b/1 venv/lib/plots/1", "class"),
        ("m/data/train/a/1 m/data/train/b/1 m/data/test/a/1 m/1", "m/any/split/class"),
    ],
)
def test_the_setting_that_an_error_names_is_accepted(names, setting):
    names = [f"{name}.png" for name in names.split()]
    with pytest.raises(UserError, match=rf"dataset\.folders.*\b{setting}\b"):
        find(names)
    assert find(names, folders=setting, task="multi").layout == "folder"


@pytest.mark.parametrize(
    ("files", "folders", "message"),
    [
        ("cat/1 dog/2", "any/class", ".*such as '(cat|dog)', got any/class"),
        ("2023/cat/1 2024/dog/2", "Any/class", ".* got Any/class\\. .* lower case"),
        *(
            (
                " ".join(f"{split}/{label}/1" for split in ("entrenar", other) for label in "ab"),
                "split/class",
                ".* 'entrenar'.* got split/class\\. Rename",
            )
            for other in ("probar", "test")
        ),
    ],
)
def test_a_pattern_that_the_folders_do_not_match_is_an_error(files, folders, message):
    with pytest.raises(UserError, match=rf"dataset\.folders: {message}"):
        find([f"{name}.png" for name in files.split()], folders=folders)


@pytest.mark.parametrize(
    "dates",
    [
        ("2023-01-05_14-30-00", "2023-01-06_09-05-00"),
        ("2023-01-05T14:30", "2023-01-06T09:05"),
        ("2023_0105_1430", "2023_0106_0905"),
        ("3.5.2023", "13.5.2023"),
        ("05-13-2023", "05-14-2023"),
        ("05_01_2023 1430", "06_01_2023 0905"),
        ("2023-W01", "2023-W02"),
        ("2023Q1", "2023Q2"),
    ],
)
def test_folders_of_dates_are_refused_as_classes(dates):
    first, second = dates
    with pytest.raises(UserError, match=r"dataset\.folders.*\bany/class\b"):
        find([f"{first}/cat/1.png", f"{second}/dog/1.png"])


@pytest.mark.parametrize("names", [("01", "02"), ("1.5.2", "1.5.3"), ("20230105x", "20230106x")])
def test_folders_that_look_like_dates_only_in_part_are_classes(names):
    source = find([f"{names[0]}/cat/1.png", f"{names[1]}/dog/1.png"])
    assert sorted(labels_of(source).values()) == sorted(names)


@pytest.mark.parametrize(
    ("split", "names"),
    [
        ("train", ["train", "Training", "trainset", "seg_train", "train_val", "Trainingsdaten"]),
        (
            "train",
            ["treinamento", "E\u011fitim", "\u041e\u0431\u0443\u0447\u0435\u043d\u0438\u0435"],
        ),
        ("train", ["\u8a13\u7df4\u30c7\u30fc\u30bf", "\ud6c8\ub828"]),
        ("validation", ["VAL", "valid", "dev", "Evaluation", "val2017", "Validierungsbilder"]),
        ("validation", ["Valida\u00e7\u00e3o"]),
        ("test", ["Test", "test_set", "TestImages", "hold-out", "Held Out", "Testdaten"]),
        ("test", ["\u0442\u0435\u0441\u0442", "\u30c6\u30b9\u30c8\u7528", "\u6e2c\u8a66\u96c6"]),
        ("unlabelled", ["Unlabeled", "un-labelled", "seg_pred"]),
        (None, ["trains", "tests", "Bilder", "latest", "evaluate_me", "contest", "train_test"]),
    ],
)
def test_names_of_splits_are_recognized(split, names):
    assert {name: split_name(name).split for name in names} == dict.fromkeys(names, split)


def test_names_of_folders_of_unlabeled_images_are_recognized():
    assert all(map(is_unlabeled, ("unlabelled", "Un-Labeled images", "unlabeledSet")))
    assert not any(map(is_unlabeled, ("unlabeled_cats", "seg_pred", "label", "relabeled_data")))


TRAIN_TABLE = {"train.csv": b"path,label\n1.png,a\n2.png,b\n"}


@pytest.mark.parametrize(
    ("name", "is_used"), [("sampleSub_v2", False), ("sample_subset", True), ("sub", True)]
)
def test_a_table_of_placeholders_is_recognized_by_its_name(name, is_used):
    labels = {f"{name}.csv": b"path,label\n3.png,a\n"}
    source = find(pictures("1.png", "2.png", "3.png") | TRAIN_TABLE | labels)
    assert source.images[2].labels == (("a",) if is_used else ())


@pytest.mark.parametrize("layout", ["annotations", "folder"])
def test_a_layout_that_is_set_decides_between_lists_and_class_folders(layout):
    files = {"cat/1.png": b"", "dog/2.png": b"", "dog/3.png": b"", "lists/x.txt": b"1 3"}
    with pytest.raises(UserError, match=r"dataset\.layout: lists/x\.txt .* folder .* annotations"):
        find(files)
    labels = {image.labels for image in find(files, layout=layout, task="multi").images}
    assert labels == ({("cat",), ("dog",)} if layout == "folder" else {("x",), ()})


def test_the_columns_that_are_used_are_described():
    remarks = find_listed(b"Width,Path,ClassId\n3,1.png,a\n4,2.png,b\n").remarks
    assert "t.csv: 2 images; paths in 'Path', labels in 'ClassId'; not used: Width" in remarks


def test_names_that_differ_only_in_composition_are_two_images():
    names = ("caf\u00e9.png", "cafe\u0301.png")
    table = f"path,label\n{names[0]},a\n{names[1]},b\n".encode()
    assert labels_of(find(pictures(*names) | {"t.csv": table})) == {names[0]: "a", names[1]: "b"}


def test_labels_that_consist_of_others_are_remarked_in_multi():
    table = b"path,label\n1.png,scab\n2.png,rot\n3.png,rot scab\n"
    remarks = find_listed(table, n=3, task="multi").remarks
    assert any("'rot scab' consists of other labels" in remark for remark in remarks)


def test_a_column_of_patients_is_suggested_as_group():
    remarks = find_listed(b"path,label,Patient ID\n1.png,a,7\n2.png,b,8\n").remarks
    assert any("call 'Patient ID' group" in remark for remark in remarks)


def test_class_names_of_folders_are_kept_where_a_table_numbers_them():
    table = b"path,label,group\ncat/1.png,0,p\ncat/2.png,0,q\ndog/1.png,1,p\n"
    source = find(pictures("cat/1.png", "cat/2.png", "dog/1.png") | {"t.csv": table})
    assert [(image.labels[0], image.group) for image in source.images] == [
        ("cat", "p"), ("cat", "q"), ("dog", "p"),
    ]  # fmt: skip


def test_a_table_keeps_the_official_splits_of_folders():
    names = ["train/1.png", "train/2.png", "test/3.png", "val/4.png"]
    table = b"path,label\n1.png,a\n2.png,b\n3.png,a\nval/4.png,b\n"
    assert [image.split for image in find(pictures(*names) | {"t.csv": table}).images] == [
        "test", "train", "train", "validation",
    ]  # fmt: skip


def test_folders_that_do_not_exist_are_skipped_only_if_they_are_the_same():
    found = labels_of(find_listed(b"path,label\nold/1.png,a\nold/2.png,b\n"))
    assert found == {"1.png": "a", "2.png": "b"}
    with pytest.raises(UserError, match=r"none of 2 paths .* got 'cat/1\.png'"):
        find_listed(b"path,label\ncat/1.png,a\ndog/2.png,b\n")


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "task", "n_files", "expected"),
    [
        ("fruit", "single", 3580, {None: 3580}),
        ("photos", "multi", 3552, {None: 3236, "unlabelled": 302}),
        ("tiny-imagenet-40", "single", 22472, {"train": 20000, "test": 2000, "unlabelled": 429}),
    ],
)
def test_layouts_of_the_real_archives_are_detected_and_labels_counted(
    tmp_path, name, task, n_files, expected
):
    path = REAL / f"{name}.zip"
    if not path.is_file():
        pytest.skip(f"the real images of {path.name} are not beside the project")
    with open_tree(path, scratch=tmp_path) as tree:
        source = find_source(tree, layout="auto", task=task, where=path.name)
        assert len(tree.names()) == n_files
    assert Counter(image.split for image in source.images) == expected
    labels = Counter(label for image in source.images for label in image.labels)
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if name == "photos":
            lists = [file for file in names if file.endswith(".txt")]
            counted = {Path(file).stem: len(archive.read(file).split()) for file in lists}
            assert labels == counted
        elif name == "fruit":
            assert labels == Counter(file.split("/")[1] for file in names)
        else:
            assert len(labels) == 40
            assert set(labels.values()) == {550}
            assert sum(image.boxes is not None for image in source.images) == 22000


def test_the_remedy_for_json_lines_with_values_of_two_types_is_not_to_download():
    table = b'{"path": "1.png", "label": "a"}\n{"path": "2.png", "label": 3}\n'
    with pytest.raises(UserError, match=r"t\.jsonl: .*one type per key.*label.*Correct the file"):
        find(pictures("1.png", "2.png") | {"t.jsonl": table}, layout="table")
