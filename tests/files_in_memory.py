"""A source of images that is not on disk."""

from classifold.ingest.detection import find_source


class FilesInMemory:
    """A tree of names and contents: None cannot be read, `dog/` is an empty folder."""

    def __init__(self, files):
        files = files if isinstance(files, dict) else dict.fromkeys(files, b"")
        self.files = {name: content for name, content in files.items() if not name.endswith("/")}
        self.empty_folders = [name[:-1] for name in files if name.endswith("/")]
        self.refused = []

    def names(self):
        return sorted(self.files)

    def read(self, name):
        if self.files[name] is None:
            raise OSError("a broken link")
        return self.files[name]

    def head(self, name):
        return (self.files[name] or b"")[:160]


def find(files, *, layout="auto", task="single", folders="auto"):
    return find_source(
        FilesInMemory(files), layout=layout, task=task, where="here", folders=folders
    )
