"""Small files that stages exchange."""

import json
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifold.data.csv_file import as_text, read_rows, write_rows
from classifold.data.json_file import read_json, write_json
from classifold.data.logits_file import Logits, load_logits, save_logits
from classifold.runtime.atomic_files import new_file, new_folder

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("files")


# Texts in which escapes meet.
ESCAPES = st.lists(st.sampled_from(["\\", "<", "/", "a", "u003c", "u005c", "'", "="])).map("".join)


@pytest.mark.parametrize("plotted", [False, True])
@given(
    rows=st.lists(
        st.fixed_dictionaries({"id": TEXT | ESCAPES, "label, or two": TEXT | ESCAPES}), max_size=4
    )
)
def test_any_text_is_read_from_csv_unchanged(folder, rows, plotted):
    write_rows(folder / "rows.csv", rows, columns=["id", "label, or two"], plotted=plotted)
    assert read_rows(folder / "rows.csv") == rows


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("</script><img src=x>", r"\u003c/script>\u003cimg src=x>"),
        ("<!-- <ScRipt", r"\u003c!-- \u003cScRipt"),
        ("<?php", r"\u003c?php"),
        ("<30 years", "<30 years"),
        ("a < b", "a < b"),
    ],
)
@pytest.mark.promise("escaped-plotted")
def test_plotted_texts_begin_no_tag(tmp_path, text, written):
    for plotted, expected in ((True, written), (False, text)):
        write_rows(tmp_path / "a.csv", [{"class": text}], columns=["class"], plotted=plotted)
        assert (tmp_path / "a.csv").read_text() == f"class\n{expected}\n"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        *(
            (text, f"'{text}")
            for text in (
                "=HYPERLINK(1)",
                "+1|cmd",
                "-2+3",
                "-1\n",
                "@SUM(A1)",
                "\t=1",
                "＝1",
                "'q'",
            )
        ),
        *((text, text) for text in ("-1", "-0.5", "a=1", "")),
    ],
)
@pytest.mark.promise("escaped-csv")
def test_cells_are_no_formulas(text, written):
    assert as_text(text) == written


@given(st.text(max_size=6))
@pytest.mark.promise("escaped-csv")
def test_no_cell_starts_like_a_formula_and_each_text_is_restored(text):
    written = as_text(text)
    assert written.removeprefix("'") == text
    number = written.removeprefix("-").replace(".", "", 1).isdecimal()
    assert number or not written.startswith(tuple("=+-@\t\r\n＝＋－＠"))


@pytest.mark.promise("apostrophes-removed")
def test_only_texts_are_escaped_and_each_is_restored(tmp_path):
    row = {"id": "=cmd()", "measured": "'s", "margin": -1e-05}
    write_rows(tmp_path / "a.csv", [row], columns=list(row))
    assert (tmp_path / "a.csv").read_text() == "id,measured,margin\n'=cmd(),''s,-1e-05\n"
    assert read_rows(tmp_path / "a.csv") == [{**row, "margin": "-1e-05"}]


def test_csv_has_a_header_even_without_rows_and_equal_bytes_everywhere(tmp_path):
    write_rows(tmp_path / "new" / "a.csv", [], columns=["id", "reason"])
    assert (tmp_path / "new" / "a.csv").read_bytes() == b"id,reason\n"
    write_rows(tmp_path / "b.csv", [{"id": "é", "n": 1.5}], columns=["id", "n"])
    assert (tmp_path / "b.csv").read_bytes() == "id,n\né,1.5\n".encode()


def test_a_csv_that_fails_leaves_the_old_file_unchanged(tmp_path):
    path = tmp_path / "rows.csv"
    write_rows(path, [{"id": "old"}], columns=["id"])
    with pytest.raises(ValueError, match="surprise"):
        write_rows(path, [{"id": "new"}, {"surprise": "x"}], columns=["id"])
    assert read_rows(path) == [{"id": "old"}]


def test_processes_that_write_one_file_at_the_same_time_do_not_disturb_each_other(
    tmp_path, monkeypatch
):
    path = tmp_path / "a.txt"
    with new_file(path) as first:
        first.write_text("first")
        monkeypatch.setattr(os, "getpid", lambda: 1)
        with new_file(path) as second:
            second.write_text("second")
        assert path.read_text() == "second"
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_metrics_are_rounded_and_keep_their_order(tmp_path):
    content = {
        "z": np.float32(0.5),
        "a": 1 / 3,
        "none": float("nan"),
        "nested": {"interval": (np.float64(0.1234567), np.inf), 3: np.array([1, 2])},
        "flag": np.bool_(True),
        "name": "é",
    }
    write_json(tmp_path / "m.json", content)
    assert (tmp_path / "m.json").read_text(encoding="utf-8").endswith('"é"\n}\n')
    assert list(read_json(tmp_path / "m.json").items()) == [
        ("z", 0.5), ("a", 0.333333), ("none", None),
        ("nested", {"interval": [0.123457, None], "3": [1, 2]}), ("flag", True), ("name", "é"),
    ]  # fmt: skip


def test_metrics_that_cannot_be_written_leave_the_old_file_unchanged(tmp_path):
    path = tmp_path / "m.json"
    write_json(path, {"accuracy": 1})
    with pytest.raises(TypeError):
        write_json(path, {"accuracy": object()})
    assert json.loads(path.read_text()) == {"accuracy": 1}


@pytest.fixture
def old_folder(tmp_path):
    """A folder, and the partial one that a killed run left beside it."""
    for folder in ("out", "out.partial"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "old").write_text("x")
    return tmp_path / "out"


def test_a_new_folder_replaces_the_old_one_completely(old_folder):
    for path in (old_folder, old_folder.with_name("another")):
        with new_folder(path) as folder:
            (folder / "new").write_text("y")
        assert [file.name for file in path.iterdir()] == ["new"]
    assert {path.name for path in old_folder.parent.iterdir()} == {"out", "another"}


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_a_folder_that_fails_leaves_the_old_one_and_no_partial_folder(old_folder, failure):
    def write_half():
        with new_folder(old_folder) as folder:
            (folder / "new").write_text("y")
            raise failure

    with pytest.raises(failure):
        write_half()
    assert [path.name for path in old_folder.iterdir()] == ["old"]
    assert list(old_folder.parent.iterdir()) == [old_folder]


def test_logits_are_restored_bit_for_bit_and_their_files_are_equal(tmp_path):
    logits = Logits(
        ids=np.array(["a/1.png", "ü/22.png"]),
        labels=np.array([1, 0]),
        logits=np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32),
    )
    save_logits(tmp_path / "a.npz", logits)
    save_logits(tmp_path / "b.npz", logits)
    for got, given_ in zip(load_logits(tmp_path / "a.npz"), logits, strict=True):
        assert got.dtype == given_.dtype
        np.testing.assert_array_equal(got, given_)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.promise("formats")
def test_no_pickled_array_is_read(tmp_path):
    ids = np.array(["a", None], dtype=object)
    np.savez(tmp_path / "a.npz", ids=ids, labels=[0, 1], logits=np.zeros((2, 2)))
    with pytest.raises(ValueError, match="allow_pickle"):
        load_logits(tmp_path / "a.npz")
