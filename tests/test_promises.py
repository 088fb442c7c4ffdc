"""Each promise of README and SECURITY has a test that holds it; figures are those of the code."""

import re

import pytest

from classifold.data import json_file
from classifold.ingest import entries, layout, limits, table_files, tar_archive, zip_archive
from classifold.models import model_file
from classifold.params import reader
from classifold.params.schema import section
from classifold.serving.web.limits import Limits
from promises import PAGE, PAGES, ROOT, find_tests, make_page, read_promises, sentences

MIB, GIB = 2**20, 2**30


def test_each_promise_has_a_test_or_something_that_measures_it():
    promises, measured, _ = read_promises()
    tests = find_tests()
    assert not promises.keys() - tests.keys() - measured.keys()
    assert tests.keys() | measured.keys() <= promises.keys()


def test_each_sentence_is_a_promise_or_listed_as_none():
    promises, _, beginnings = read_promises()
    found = [sentence for page in PAGES for _, sentence in sentences(page)]
    unlisted = [s for s in found if not any(text in s for text in promises.values())]
    assert not [s for s in unlisted if not s.startswith(tuple(beginnings))]
    # What the pages no longer say is no promise.
    assert not [key for key, text in promises.items() if sum(text in s for s in found) != 1]
    assert not [text for text in beginnings if not any(s.startswith(text) for s in unlisted)]


def test_the_page_of_promises_is_current():
    assert PAGE.read_text(encoding="utf-8") == make_page(), "run: python tests/promises.py"


served = Limits()


@pytest.mark.parametrize(
    ("key", "limits_of_code"),
    [
        ("limit-file", (entries.MAX_BYTES_PER_FILE / MIB, zip_archive.BYTES_BEYOND_SUSPICION / MIB,
                        entries.MAX_COMPRESSION_RATIO)),
        ("limit-archive", (entries.BYTES_UNPACKED_BEYOND_SUSPICION / GIB,
                           entries.MAX_COMPRESSION_RATIO)),
        ("limit-parquet", (table_files.MAX_ROWS, table_files.MAX_BYTES_UNPACKED / GIB)),
        ("limit-xz", (tar_archive.MAX_MEMORY_OF_XZ / MIB,)),
        ("limit-headers", (tar_archive.MAX_BYTES_OF_HEADERS / MIB,)),
        ("limit-image", (limits.MAX_PIXELS / 1e6, limits.MAX_BYTES / 1e6, 4)),
        ("limit-files", (entries.MAX_FILES, entries.MAX_CHARACTERS_PER_NAME,
                         layout.MAX_CHARACTERS_PER_LABEL)),
        ("limit-params", (reader.MAX_BYTES / 2**10, reader.MAX_EXPANDED_CHARACTERS / MIB,
                          reader.MAX_DIGITS)),
        ("limit-network", (model_file.MAX_TENSORS, model_file.MAX_ARGUMENT_VALUES,
                           model_file.MAX_THREADS, round(model_file.MAX_ACTIVATIONS / 1e6))),
        ("limit-json", (json_file.MAX_BYTES / MIB,)),
        ("limit-request", (served.max_body / MIB, served.max_images, served.body_seconds,
                           served.max_waiting, served.max_connections)),
        ("limit-name", (section.MAX_CHARACTERS_PER_NAME,)),
        ("serve-bounded", (served.decode_seconds, served.decode_bytes / GIB)),
    ],
)  # fmt: skip
def test_limits_on_the_page_are_those_of_the_code(key, limits_of_code):
    numbers = re.findall(r"\d+(?:,\d{3})*", read_promises().promises[key])
    assert tuple(int(number.replace(",", "")) for number in numbers) == limits_of_code


def test_each_limit_on_the_page_is_compared_or_has_no_number():
    (mark,) = test_limits_on_the_page_are_those_of_the_code.pytestmark
    compared = {key for key, _ in mark.args[1]}
    limits = {key: text for key, text in read_promises().promises.items() if "limit-" in key}
    assert not [
        key for key, text in limits.items() if re.search(r"\d", text) and key not in compared
    ]


@pytest.mark.promise(
    "fruit-weights",
    "photos-weights",
    "photos-quick",
    "tiny-weights",
    "fruit-random",
    "photos-random",
    "tiny-random",
)
def test_the_results_in_the_readme_are_those_of_the_recipes():
    rows = re.findall(
        r"^\|.*?\|.*?\|(.*?%.*?|.*?F1.*?)\|.*\| `(\w+)`", (ROOT / "README.md").read_text(), re.M
    )
    assert len(rows) > 6
    for score, recipe in rows:
        head = (ROOT / f"recipes/{recipe}.yaml").read_text().partition("\ndataset:")[0]
        assert set(re.findall(r"\d+\.\d+", score)) <= set(re.findall(r"\d+\.\d+", head)), recipe


@pytest.mark.promise("peers")
def test_the_accuracies_beside_other_libraries_are_those_of_their_page():
    readme, page = ((ROOT / name).read_text() for name in ("README.md", "docs/PEERS.md"))
    table = readme.partition("| library |")[2].partition("\n\n")[0]
    scores = re.findall(r"\d+\.\d % \(\d+\.\d to \d+\.\d", table)
    assert len(scores) == 6
    assert all(score in page for score in scores)
