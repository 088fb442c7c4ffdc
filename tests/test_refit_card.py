"""The model card of a refitted model: its training images, and the score to quote."""

import pytest

from classifold.data.json_file import write_json
from classifold.reporting.formats import SPACE
from classifold.reporting.refit_card import write_refit_card

NO_LIMIT = {"images_per_class": None, "epochs": None}
COUNTS = {"n_train": 4000, "n_validation": 20, "n_epochs": 1}


def card(folder, *, task="single", limit=NO_LIMIT, name="m"):
    params = {"dataset": {"task": task}, "limit": limit}
    path = folder / "MODEL_CARD.md"
    write_refit_card(path, name, params, **COUNTS, metrics=folder / "test.json")
    return path.read_text(encoding="utf-8").replace(SPACE, " ")


def test_the_card_names_the_images_and_the_epochs(tmp_path):
    text = card(tmp_path)
    assert text.startswith("# m, refitted\n\n- **Refitted on training and validation images")
    assert "4,000 training images (with their augmented variants) and 20 validation" in text
    assert "for 1 epoch," in text and "Short form" not in text
    assert "not evaluated on test images" in text


@pytest.mark.parametrize(
    ("task", "key", "quoted"),
    [
        ("single", "accuracy", "accuracy on 1,200 test images is 90.0 % (95 % interval 88.0 to"),
        ("multi", "micro_f1", "micro F1 on 1,200 test images is 0.900 (95 % interval 0.880 to"),
    ],
)
def test_the_card_quotes_the_score_of_the_pipelines_model(tmp_path, task, key, quoted):
    tested = {"m": {"n_images": 1200, key: 0.9, f"{key}_ci95": [0.88, 0.92]}}
    write_json(tmp_path / "test.json", tested)
    assert quoted in card(tmp_path, task=task)


def test_an_empty_test_split_has_no_score(tmp_path):
    write_json(tmp_path / "test.json", {"m": {"n_images": 0}})
    assert "not evaluated on test images" in card(tmp_path)


def test_a_short_form_is_marked(tmp_path):
    text = card(tmp_path, limit={"images_per_class": 50, "epochs": 4})
    marked = "**Short form, not a result**: trained with `limit.images_per_class: 50`, `limit.ep"
    assert marked in text


def test_names_are_escaped(tmp_path):
    assert card(tmp_path, name="a_<b>").startswith(r"# a\_&lt;b&gt;, refitted")
