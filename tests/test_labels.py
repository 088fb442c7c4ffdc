"""The labels of an image as one text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifold.data.labels import LABEL_SEPARATOR, format_labels, join_labels, split_labels

LABEL = st.text(st.characters(exclude_characters=LABEL_SEPARATOR), min_size=1)


@given(st.lists(LABEL))
def test_joined_labels_are_split_to_the_same(labels):
    assert split_labels(join_labels(labels)) == labels


@pytest.mark.parametrize(
    ("joined", "shown"), [("", "no label"), ("cat", "cat"), ("cat|dog", "cat, dog")]
)
def test_labels_are_shown_to_people(joined, shown):
    assert format_labels(joined) == shown
