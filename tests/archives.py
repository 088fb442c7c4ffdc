"""Write archives and folders of given files, also with entries that tools would not write."""

import io
import re
import tarfile
import zipfile

TARS = {"tar": "w:", "tar.gz": "w:gz", "tar.bz2": "w:bz2", "tar.xz": "w:xz"}
KINDS = ["folder", "zip", *TARS]


def pack(path, files, kind, *, method=zipfile.ZIP_DEFLATED):
    """Write files as a folder or an archive of a kind; a name that ends with / is a folder.

    Names are texts, or entries of the archive with further fields; pairs may repeat a name.
    """
    pairs = list(files.items()) if isinstance(files, dict) else files
    if kind == "folder":
        write_files(path, dict(pairs))
    elif kind == "zip":
        with zipfile.ZipFile(path, "w", method, compresslevel=1) as archive:
            for name, content in pairs:
                archive.writestr(name, content)
    else:
        with tarfile.open(path, TARS[kind]) as archive:
            for name, content in pairs:
                entry = name if isinstance(name, tarfile.TarInfo) else member(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return path


def write_files(folder, files):
    """Write the content of each file below a folder; a name that ends with / is a folder."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            (folder / name).mkdir()
        else:
            (folder / name).write_bytes(content)


def entry(name, **fields):
    """An entry of a zip with these fields."""
    return _with_fields(zipfile.ZipInfo(name), fields)


def member(name, **fields):
    """An entry of a tar with these fields."""
    kind = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
    return _with_fields(tarfile.TarInfo(name), {"type": kind, **fields})


def rewrite(path, field, value, *, nth=0):
    """Overwrite bytes of an entry in the list of a zip, from its byte `field` on."""
    content = bytearray(path.read_bytes())
    starts = [match.start() for match in re.finditer(b"PK\1\2", content)]
    start = starts[nth] + field
    content[start : start + len(value)] = value
    path.write_bytes(content)


def _with_fields(info, fields):
    for field, value in fields.items():
        setattr(info, field, value)
    return info
