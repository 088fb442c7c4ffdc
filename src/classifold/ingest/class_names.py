"""Read class names from `words.txt`, a file of ImageNet and Tiny ImageNet."""

from collections import Counter
from collections.abc import Collection

from classifold.ingest.tree import Tree, read_listed


def read_class_names(tree: Tree, folders: Collection[str]) -> dict[str, str]:
    """Read the names of class folders (`n02124075` is an Egyptian cat).

    A line of `words.txt` has a folder, a tab, and synonyms separated by commas. The name is the
    first synonym, all synonyms where two classes share the first, or all synonyms and the folder
    where they share all.

    Args:
        tree: where the files are; `words.txt` is at its root or in a wrapping folder.
        folders: the class folders to be named.

    Returns:
        Folder -> name, of those folders that have one; empty without a `words.txt`.
    """
    files = [name for name in tree.names() if is_class_names(name)]
    if not files:
        return {}
    synonyms: dict[str, str] = {}
    text = read_listed(tree, min(files, key=lambda name: name.count("/"))).decode(
        "utf-8", "replace"
    )
    for line in text.splitlines():
        folder, _, words = line.partition("\t")
        if folder in folders and words.strip():
            synonyms[folder] = words.strip()
    first = {folder: words.split(",")[0].strip() for folder, words in synonyms.items()}
    sharing = Counter(first.values())
    names = {
        folder: first[folder] if sharing[first[folder]] == 1 else words
        for folder, words in synonyms.items()
    }
    taken = Counter([*names.values(), *(set(folders) - set(names))])
    return {
        folder: name if taken[name] == 1 else f"{name} ({folder})" for folder, name in names.items()
    }


def is_class_names(name: str) -> bool:
    """Check whether a file has the names of class folders."""
    return name == "words.txt" or name.endswith("/words.txt")
