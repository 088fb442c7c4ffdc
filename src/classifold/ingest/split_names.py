"""Recognize the names of official splits in names of folders, tables and cells."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from classifold.data.image_table import TEST, UNLABELED

VALIDATION = "validation"
TRAIN = "train"

# The accepted values of a column `split`, in lower case.
SPLIT_NAMES = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "dev": VALIDATION,
    "test": TEST,
    "testing": TEST,
}

UNLABELED_NAMES = frozenset({UNLABELED, "unlabeled"})


def _plain(name: str) -> str:
    """Decompose characters and remove accents."""
    decomposed = unicodedata.normalize("NFKD", name)
    return "".join(character for character in decomposed if not unicodedata.combining(character))


# Words of the names of folders and tables, in lower case; those in Chinese, Japanese, Korean and
# Russian are escaped.
_OTHER_WORDS = {
    TRAIN: (
        *("trn", "trainval", "trainings", "treino", "treinamento", "entrenamiento"),
        *("entrainement", "apprentissage", "addestramento", "egitim", "\u8bad\u7ec3"),
        *("\u8a13\u7df4", "\u5b66\u7fd2", "\ud6c8\ub828", "\ud559\uc2b5"),
        "\u043e\u0431\u0443\u0447\u0435\u043d\u0438\u0435",
    ),
    VALIDATION: (
        *("eval", "evaluation", "validacion", "validacao", "validazione", "validierung"),
        *("validierungs", "\u9a8c\u8bc1", "\u9a57\u8b49", "\u691c\u8a3c", "\uac80\uc99d"),
        "\u0432\u0430\u043b\u0438\u0434\u0430\u0446\u0438\u044f",
    ),
    TEST: (
        *("tst", "holdout", "heldout", "teste", "prueba", "pruebas", "\u6d4b\u8bd5"),
        *("\u6e2c\u8a66", "\u30c6\u30b9\u30c8", "\ud14c\uc2a4\ud2b8"),
        "\u0442\u0435\u0441\u0442",
    ),
    UNLABELED: (*UNLABELED_NAMES, "pred", "predict", "prediction"),
}
_WORDS = SPLIT_NAMES | {
    _plain(word): split for split, names in _OTHER_WORDS.items() for word in names
}

# Words that mean no more than that there are images; they may also be appended to the name of a
# split (`trainset`).
DATA_WORDS = frozenset(
    (
        *("image", "images", "img", "imgs", "data", "dataset", "datasets", "folder", "dir"),
        *("annotation", "annotations", "label", "labels"),
    )
)

# Folders beside class folders that are part of a repository, a program or a web site.
_SIDE_NAMES = frozenset(
    (
        *("app", "asset", "assets", "demo", "doc", "docs", "documentation", "env", "example"),
        *("examples", "figs", "figures", "icons", "lib", "logos", "media", "node_modules"),
        *("notebooks", "output", "outputs", "public", "results", "screenshots", "scripts"),
        *("src", "static", "templates", "thumbnails", "venv"),
    )
)

_FILLERS = DATA_WORDS | {
    *("set", "sets", "split", "splits", "files", "input", "daten", "bilder"),
    *map(_plain, ("\u96c6", "\u7528", "\u30c7\u30fc\u30bf")),
}

_HELD_OUT = re.compile(r"(h(?:o|e)ld)[\s_-]*(out)", re.IGNORECASE)
_UNLABELED = re.compile(r"(un)[\s_-]*(label+ed)", re.IGNORECASE)
_TOKEN = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+|[^\W\d_A-Za-z]+")


class SplitName(NamedTuple):
    """What the name of a folder or table means for a split."""

    split: str | None  # train, validation, test, unlabelled; None: the name is not of a split
    rest: tuple[str, ...]  # the other words, without numbers and words such as "images"


@lru_cache(maxsize=4096)
def split_name(name: str) -> SplitName:
    """Read the name of a split: `seg_train` is train, with the rest `seg`.

    Words are separated by other characters, by digits or by capitals (`PublicTest`); case and
    accents do not matter.
    """
    tokens = words(name)
    splits = {split for token in tokens if (split := _split_of(token))}
    rest = tuple(
        token
        for token in tokens
        if not (token.isdigit() or token in _FILLERS or (splits and _split_of(token)))
    )
    if splits == {TRAIN, VALIDATION}:  # `train_val`
        return SplitName(TRAIN, rest)
    if UNLABELED in splits:
        return SplitName(UNLABELED, rest)
    return SplitName(splits.pop() if len(splits) == 1 else None, rest)


def words(name: str) -> list[str]:
    """Divide a name into words, in lower case and without accents."""
    plain = _plain(name)
    for parts in (_HELD_OUT, _UNLABELED):
        plain = parts.sub(lambda match: "".join(match.groups()).lower(), plain)
    return [token.lower() for token in _TOKEN.findall(plain)]


def is_data_word(name: str) -> bool:
    """Check whether a name means no more than that there are images, such as `images_01`."""
    tokens = {token for token in words(name) if not token.isdigit()}
    return bool(tokens) and tokens <= DATA_WORDS


def is_side_folder(name: str) -> bool:
    """Check whether a name is usual for folders beside the data, such as `docs` or `assets`."""
    return name.lower() in _SIDE_NAMES


def is_unlabeled(folder: str) -> bool:
    """Check whether a folder is named `unlabelled`, or so with words such as `data` or `train`."""
    name = split_name(folder)
    return (
        name.split == UNLABELED
        and not name.rest
        and any(token.startswith(tuple(UNLABELED_NAMES)) for token in words(folder))
    )


def official_splits(folders: Iterable[str]) -> Mapping[str, str] | None:
    """Recognize folders beside each other as official splits: folder -> split.

    All must be named after splits, train and another one among them, and apart from that alike:
    `seg_train`, `seg_test`, but not `bullet_train`, `test_tube`. A `train` needs no other one.

    Returns:
        None if they are not surely splits.
    """
    names = {folder: split_name(folder) for folder in folders if not is_unlabeled(folder)}
    found = {name.split for name in names.values()}
    if None in found or TRAIN not in found:
        return None
    held_out = [name for name in names.values() if name.split != UNLABELED]
    alike = len({_distinctive(name) for name in held_out}) == 1
    if not alike or (len(found) == 1 and any(name.rest for name in names.values())):
        return None
    unlabelled = {folder: UNLABELED for folder in folders if is_unlabeled(folder)}
    return {folder: str(name.split) for folder, name in names.items()} | unlabelled


def may_be_splits(folders: Iterable[str]) -> bool:
    """Check whether some of the folders look like a train and a held-out split."""
    found = {split_name(folder).split for folder in folders}
    return TRAIN in found and bool(found & {VALIDATION, TEST})


def _distinctive(name: SplitName) -> tuple[str, ...]:
    # FER2013 has Training, PublicTest and PrivateTest.
    return tuple(word for word in name.rest if word not in {"public", "private"})


def _split_of(token: str) -> str | None:
    if token in _WORDS:
        return _WORDS[token]
    for filler in _FILLERS:
        if token.endswith(filler) and token.removesuffix(filler) in _WORDS:
            return _WORDS[token.removesuffix(filler)]
    return None
