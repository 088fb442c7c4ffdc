"""Folders and archives hold the same files; what climbs out, links or bursts is kept out."""

import bz2
import gzip
import io
import lzma
import os
import stat
import struct
import tarfile
import tracemalloc
import zipfile
from contextlib import contextmanager

import numpy as np
import pytest

import archives
from archives import KINDS, entry, member, rewrite, write_files
from classifold.errors import UserError
from classifold.ingest import entries, tar_archive, zip_archive
from classifold.ingest.detection import find_source
from classifold.ingest.tree import open_tree

FILES = {
    "cat/2.png": b"two",
    "cat/10.png": b"ten",
    "dog/deep/er/ü.png": b"",
    'dog/a "name"\nof <b>two</b> lines, 100%.png': b"odd",
    "Cat/2.png": b"another cat",
    "README": b"text",
}
LINK = "a link; links of archives are not followed"
OUTSIDE = "its name is a path outside the archive"


@pytest.fixture
def pack(tmp_path):
    """Files as a folder or an archive of some kind."""

    def to_path(files, kind, **options):
        return archives.pack(tmp_path / f"source.{kind}", files, kind, **options)

    return to_path


@pytest.fixture
def opened(tmp_path):
    """A path as a tree, with room for what is unpacked."""

    @contextmanager
    def open_with_room(path):
        scratch = tmp_path / "scratch"
        scratch.mkdir(exist_ok=True)
        with open_tree(path, scratch=scratch) as tree:
            yield tree
        assert list(scratch.iterdir()) == []

    return open_with_room


@pytest.fixture
def refused(opened):
    """Open a path, which must be an error."""

    def refuse(path, message):
        with pytest.raises(UserError, match=message), opened(path):
            pass

    return refuse


def contents(tree):
    return {name: tree.read(name) for name in tree.names()}


def refusals(tree):
    return {item.id: item.reason for item in tree.refused}


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_and_its_archives_hold_the_same_files_in_the_same_order(pack, opened, kind):
    empty = ["dog/none/", "emu/chick/"]
    with opened(pack(FILES | dict.fromkeys(empty, b""), kind)) as tree:
        assert tree.names() == sorted(FILES)
        assert contents(tree) == FILES
        assert tree.refused == []
        assert tree.empty_folders == ["dog/none", "emu/chick"]


LAYOUTS = {
    "folder": {"pets/train/cat/1.png": b"", "pets/train/dog/1.png": b"", "pets/test/1.png": b""},
    "annotations": {"images/im1.png": b"", "images/im2.png": b"", "lists/cat.txt": b"1\n",
                    "lists/dog.txt": b"2\n"},
    "table": {"1.png": b"", "2.png": b"", "3.png": b"", "t.csv": b"path,label\n1.png,a\n2.png,b\n"},
    "tiny-imagenet": {
        "wnids.txt": b"n1\nn2\n",
        "words.txt": b"n1\tcat, kitty\nn2\tdog\n",
        "train/n1/images/n1_0.JPEG": b"",
        "train/n1/n1_boxes.txt": b"n1_0.JPEG\t0\t1\t2\t3\n",
        "train/n2/images/n2_0.JPEG": b"",
        "val/val_annotations.txt": b"val_0.JPEG\tn2\t4\t5\t6\t7\n",
        "val/images/val_0.JPEG": b"",
        "test/images/test_0.JPEG": b"",
    },
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.promise("layouts")
def test_a_layout_is_found_out_and_the_same_in_a_folder_and_in_any_archive(pack, opened, layout):
    sources = []
    for kind in KINDS:
        with opened(pack(LAYOUTS[layout], kind)) as tree:
            sources.append(find_source(tree, layout="auto", task="single", where="here"))
    assert sources[0].layout == layout
    assert sources == [sources[0]] * len(KINDS)


CLIMBING = [
    "../outside.png",
    "cat/../../outside.png",
    "/absolute.png",
    "C:\\windows.png",
    "c:1.png",
]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((name, kind) for name in CLIMBING for kind in ("zip", "tar", "tar.gz")),
        *(("..\\outside.png", "zip"), ("\\absolute.png", "zip")),
    ],
)
def test_an_entry_that_climbs_out_is_refused_and_nothing_is_written(
    tmp_path, pack, opened, name, kind
):
    path = pack({"cat/1.png": b"x", name: b"evil"}, kind)
    with opened(path) as tree:
        assert contents(tree) == {"cat/1.png": b"x"}
        assert refusals(tree) == {name: OUTSIDE}
    assert {file.name for file in tmp_path.rglob("*")} == {"scratch", path.name}


@pytest.mark.parametrize(
    "kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK]
)
def test_links_devices_and_pipes_in_a_zip_are_refused(pack, opened, kind):
    odd = entry("cat/1.png", external_attr=(kind | 0o666) << 16)
    with opened(pack({odd: b"/etc/passwd"}, "zip")) as tree:
        assert tree.names() == []
        reason = LINK if kind == stat.S_IFLNK else "not a regular file"
        assert refusals(tree) == {"cat/1.png": reason}


def test_links_and_devices_in_a_tar_are_refused_but_one_file_may_have_two_names(pack, opened):
    others = [
        member("cat/inside.png", type=tarfile.LNKTYPE, linkname="cat/1.png"),
        member("cat/outside.png", type=tarfile.LNKTYPE, linkname="/etc/passwd"),
        member("cat/climbing.png", type=tarfile.LNKTYPE, linkname="../../etc/passwd"),
        member("cat/soft.png", type=tarfile.SYMTYPE, linkname="1.png"),
        member("cat/pipe.png", type=tarfile.FIFOTYPE),
        member("cat/disk.png", type=tarfile.BLKTYPE),
        member("cat/terminal.png", type=tarfile.CHRTYPE),
        member("cat/sparse.png", type=tarfile.GNUTYPE_SPARSE),
    ]
    with opened(pack({"cat/1.png": b"x"} | dict.fromkeys(others, b""), "tar")) as tree:
        assert contents(tree) == {"cat/1.png": b"x", "cat/inside.png": b"x"}
        assert refusals(tree) == {
            "cat/outside.png": LINK,
            "cat/climbing.png": LINK,
            "cat/soft.png": LINK,
            "cat/pipe.png": "not a regular file",
            "cat/disk.png": "not a regular file",
            "cat/terminal.png": "not a regular file",
            "cat/sparse.png": "not a regular file",
        }


@pytest.mark.promise("limit-pipes")
def test_in_a_folder_links_to_files_are_followed_and_others_and_pipes_are_listed(tmp_path, opened):
    root = tmp_path / "source"
    write_files(tmp_path, {"elsewhere/1.png": b"cached by DVC", "source/cat/": b""})
    (root / "cat/1.png").symlink_to(tmp_path / "elsewhere/1.png")
    (root / "cat/broken.png").symlink_to("nowhere.png")
    (root / "cat/loop.png").symlink_to("loop.png")
    (root / "dog").symlink_to(tmp_path / "elsewhere")
    (root / "up").symlink_to("..")
    os.mkfifo(root / "cat/pipe.png")
    with opened(root) as tree:
        assert tree.names() == ["cat/1.png", "cat/broken.png", "cat/loop.png", "cat/pipe.png"]
        assert tree.read("cat/1.png") == b"cached by DVC"
        for name in tree.names()[1:]:
            with pytest.raises(OSError, match="not a file that can be read"):
                tree.read(name)
        reason = "a link to a folder; such links are not followed"
        assert refusals(tree) == {"dog": reason, "up": reason}


REPLACED = "replaced by a later entry of the same name"


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_later_entry_replaces_one_of_its_name_and_is_listed(pack, opened, kind):
    files = [("cat/1.png", b"1st"), ("./cat//1.png", b"2nd"), ("cat/1.png", b"3")]
    with opened(pack(files, kind)) as tree:
        assert contents(tree) == {"cat/1.png": b"3"}
        assert tree.refused == [("cat/1.png", REPLACED)] * 2


def test_a_second_name_of_a_file_that_replaces_an_entry_is_listed(pack, opened):
    again = member("cat/2.png", type=tarfile.LNKTYPE, linkname="cat/1.png")
    with opened(pack({"cat/1.png": b"1", "cat/2.png": b"2", again: b""}, "tar")) as tree:
        assert contents(tree) == {"cat/1.png": b"1", "cat/2.png": b"1"}
        assert refusals(tree) == {"cat/2.png": REPLACED}


@pytest.mark.promise("refused-entries")
def test_an_encrypted_entry_names_a_remedy(pack, opened):
    path = pack({"cat/1.png": b"secret", "cat/2.png": b"open"}, "zip")
    rewrite(path, 8, b"\1")
    with opened(path) as tree:
        assert contents(tree) == {"cat/2.png": b"open"}
        assert "unpack the archive with its password" in refusals(tree)["cat/1.png"]


@pytest.mark.parametrize("claimed", [0, 1, 500, 2**22 - 1])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.promise("limit-entry")
def test_an_entry_that_claims_too_few_bytes_is_read_no_further(pack, opened, method, claimed):
    path = pack({"cat/1.png": bytes(2**22), "cat/2.png": b"x"}, "zip", method=method)
    rewrite(path, 24, struct.pack("<I", claimed))
    with opened(path) as tree:
        tracemalloc.start()
        with pytest.raises(OSError, match=f"unpacks to more bytes than the {claimed:,} that"):
            tree.read("cat/1.png")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert tree.read("cat/2.png") == b"x"
    assert peak < 3 * claimed + 2**17


def in_64_bits(claimed):
    return struct.pack("<HHQ", 1, 8, claimed)


@pytest.mark.parametrize(
    ("extra", "claimed", "message"),
    [
        (b"", 8, "unpacks to fewer bytes than the 8 that it claims"),
        *(
            (in_64_bits(n), 2**32 - 1, "maximum is 268,435,456")
            for n in (2**28 + 1, 2**63, 2**64 - 1)
        ),
    ],
    ids=["8 bytes", "256 MiB and one", "2 to the 63", "the largest number"],
)
def test_an_entry_that_claims_too_many_bytes_is_an_error(pack, opened, extra, claimed, message):
    path = pack({entry("cat/1.png", extra=extra): b"content", "cat/2.png": b"x"}, "zip")
    rewrite(path, 24, struct.pack("<I", claimed))
    with opened(path) as tree:
        with pytest.raises(OSError, match=message):
            tree.read("cat/1.png")
        assert tree.read("cat/2.png") == b"x"


@pytest.mark.parametrize(
    ("method", "name"),
    [
        *((6, "implode"), (9, "deflate64"), (zipfile.ZIP_BZIP2, "bzip2")),
        *((zipfile.ZIP_LZMA, "LZMA"), (93, "zstd"), (99, "AES encryption"), (77, "method 77")),
    ],
)
def test_an_entry_of_another_compression_is_refused_by_its_name(pack, opened, method, name):
    path = pack({"cat/1.png": b"x"}, "zip")
    rewrite(path, 10, struct.pack("<H", method))
    with opened(path) as tree:
        assert tree.names() == []
        assert refusals(tree)["cat/1.png"].startswith(f"compressed by {name} instead of deflate")


def test_a_zip_of_encrypted_images_is_refused_for_that_reason(pack, opened):
    path = pack({"cat/1.png": b"x"}, "zip")
    rewrite(path, 8, b"\1")
    with (
        opened(path) as tree,
        pytest.raises(UserError, match=r"1 times 'encrypted.*password.*'cat/1\.png'"),
    ):
        find_source(tree, layout="auto", task="single", where="a.zip")


@pytest.mark.parametrize(
    ("name", "spoilt", "listed"),
    [(b"cat/2.png+.txt", b"cat/2.png\0.txt", "cat/2.png"), (b"nameless", bytes(8), "(no name)")],
    ids=["null character", "empty"],
)
def test_a_name_that_is_empty_or_goes_on_after_a_null_character_is_refused(
    pack, opened, name, spoilt, listed
):
    path = pack({"cat/1.png": b"x", name.decode(): b"y"}, "zip")
    path.write_bytes(path.read_bytes().replace(name, spoilt))
    with opened(path) as tree:
        assert contents(tree) == {"cat/1.png": b"x"}
        assert refusals(tree) == {listed: "its name is empty or has a null character"}


def test_a_zip_behind_a_program_is_read(pack, opened):
    path = pack(FILES, "zip")
    path.write_bytes(b"MZ a program that unpacks itself" * 100 + path.read_bytes())
    with opened(path) as tree:
        assert contents(tree) == FILES


def test_a_tar_whose_last_file_is_a_zip_is_a_tar(pack, opened):
    inner = pack({"x": b"y"}, "zip").read_bytes()
    with opened(pack({"cat/1.png": b"x", "inner.zip": inner}, "tar")) as tree:
        assert tree.names() == ["cat/1.png", "inner.zip"]


@pytest.mark.promise("limit-archive")
def test_a_zip_that_unpacks_to_too_much_in_all_is_refused(pack, refused, monkeypatch):
    monkeypatch.setattr(entries, "BYTES_UNPACKED_BEYOND_SUSPICION", 10_000)
    path = pack({f"cat/{i}.png": bytes(200_000) for i in range(3)}, "zip")
    refused(path, r"unpacks to more than [\d,]+ bytes, over 100.*folder")


def test_one_file_of_many_names_unpacks_to_too_much_in_all(pack, refused, monkeypatch):
    monkeypatch.setattr(entries, "BYTES_UNPACKED_BEYOND_SUSPICION", 10_000)
    names = [member(f"{i}.png", type=tarfile.LNKTYPE, linkname="0.png") for i in range(1, 400)]
    path = pack({"0.png": bytes(90_000)} | dict.fromkeys(names, b""), "tar")
    refused(path, "unpacks to more than")


@pytest.mark.promise("limit-file")
def test_an_entry_that_unpacks_to_far_more_than_its_size_is_not_unpacked(pack, opened, monkeypatch):
    monkeypatch.setattr(zip_archive, "BYTES_BEYOND_SUSPICION", 10_000)
    with opened(pack({"cat/1.png": bytes(20_000), "cat/2.png": bytes(9_000)}, "zip")) as tree:
        with pytest.raises(OSError, match=r"\d+ bytes would unpack to 20,000"):
            tree.read("cat/1.png")
        assert tree.read("cat/2.png") == bytes(9_000)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.promise("limit-file")
def test_files_too_large_to_be_read_safely_are_refused(pack, opened, monkeypatch, kind):
    monkeypatch.setattr(entries, "MAX_BYTES_PER_FILE", 3)
    with opened(pack({"cat/1.png": b"1234", "cat/2.png": b"123"}, kind)) as tree:
        with pytest.raises(OSError, match=r"4 bytes; .* 3"):
            tree.read("cat/1.png")
        assert tree.read("cat/2.png") == b"123"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.promise("limit-files")
def test_more_files_than_memory_has_room_for_are_refused(pack, refused, monkeypatch, kind):
    monkeypatch.setattr(entries, "MAX_FILES", 2)
    refused(pack({f"cat/{i}.png": b"" for i in range(3)}, kind), "more than 2 files.*Divide it")


@pytest.mark.parametrize("kind", ["tar.gz", "tar.bz2", "tar.xz"])
@pytest.mark.promise("limit-archive")
def test_a_tar_that_unpacks_to_far_more_than_its_size_is_not_unpacked(
    tmp_path, pack, refused, monkeypatch, kind
):
    monkeypatch.setattr(entries, "BYTES_UNPACKED_BEYOND_SUSPICION", 10_000)
    refused(
        pack({"cat/1.png": bytes(2 * 2**20)}, kind), r"unpacks to more than [\d,]+ bytes, over 100"
    )
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_full_disk_is_a_message(pack, refused, monkeypatch):
    monkeypatch.setattr(
        tar_archive.shutil, "disk_usage", lambda _: tar_archive.shutil._ntuple_diskusage(1, 1, 0)
    )
    refused(pack(FILES, "tar.gz"), "the disk is full")


def test_a_damaged_entry_is_an_error_of_that_file_alone(pack, opened):
    files = {"a.png": b"content of a", "b.png": b"content of b"}
    path = pack(files, "zip", method=zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"content of a", b"CONTENT of a"))
    with opened(path) as tree:
        with pytest.raises(OSError, match="BadZipFile: Bad CRC-32"):
            tree.read("a.png")
        assert tree.read("b.png") == b"content of b"


LARGE = {f"cat/{i}.png": np.random.default_rng(i).bytes(3000) for i in range(9)}


@pytest.mark.parametrize("kind", KINDS[1:])
@pytest.mark.parametrize("kept", [0.2, 0.5, 0.75])
def test_an_archive_cut_short_is_a_message(pack, refused, kind, kept):
    path = pack(LARGE, kind)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    refused(path, r"ownload (it|the file) again")


@pytest.mark.parametrize("kind", ["tar.gz", "tar.bz2", "tar.xz"])
def test_one_wrong_byte_in_a_compressed_tar_is_a_message(pack, refused, kind):
    path = pack(LARGE, kind)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    refused(path, r"ownload (it|the file) again")


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda tar: tar[: 1024 + 100], id="cut within a header"),
        pytest.param(lambda tar: tar[: 1024 + 150] + b"x" + tar[1024 + 151 :], id="wrong header"),
    ],
)
def test_a_tar_is_not_taken_to_end_where_a_header_is_damaged(pack, refused, spoil):
    path = pack({"cat/1.png": b"1", "cat/2.png": b"2", "cat/3.png": b"3"}, "tar")
    path.write_bytes(spoil(path.read_bytes()))
    refused(path, r"damaged tar archive \(no entry at byte 1,024\)")


def headers_without_end(kind):
    """A tar whose headers of one entry fill the memory of a careless reader."""
    megabytes = 2**21
    if kind == "sparse":
        first = bytearray(header(type=tarfile.GNUTYPE_SPARSE))
        first[482] = 1
        return with_checksum(first) + (b"0" * 504 + b"\1" + bytes(7)) * (megabytes // 512)
    return header(type=kind, size=megabytes) + bytes(megabytes) + header() + bytes(1024)


@pytest.mark.parametrize(
    "kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, "sparse"]
)
@pytest.mark.promise("limit-headers")
def test_headers_of_a_tar_do_not_fill_the_memory(tmp_path, refused, kind):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(header() + headers_without_end(kind)))
    tracemalloc.start()
    refused(path, r"headers of more than 1,048,576 bytes")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**23


@pytest.mark.promise("limit-xz")
def test_an_xz_file_that_needs_too_much_memory_is_refused(pack, refused, monkeypatch):
    path = pack(FILES, "tar.xz")
    monkeypatch.setattr(tar_archive, "MAX_MEMORY_OF_XZ", 2**20)
    refused(path, r"needs more than 1,048,576 bytes.*use the folder")


def test_an_xz_file_of_several_streams_is_read_to_its_end(tmp_path, pack, opened):
    whole = lzma.decompress(pack(FILES | LARGE, "tar.xz").read_bytes())
    parts = (whole[:700], whole[700:2000], b"", whole[2000:])
    path = tmp_path / "parts.tar.xz"
    path.write_bytes(b"".join(lzma.compress(part) + bytes(8) for part in parts))
    with opened(path) as tree:
        assert contents(tree) == FILES | LARGE


def test_many_small_files_have_headers_of_their_own(pack, opened):
    with opened(pack({f"cat/{i}.png": b"" for i in range(3000)}, "tar")) as tree:
        assert len(tree.names()) == 3000


def with_checksum(block):
    """A header with the checksum of its bytes."""
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def header(**fields):
    return member("cat/1.png", **fields).tobuf(tarfile.GNU_FORMAT)


def header_of_negative_size(**fields):
    block = bytearray(header(**fields))
    block[124:136] = tarfile.itn(-512, 12, tarfile.GNU_FORMAT)
    return with_checksum(block)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(header_of_negative_size() + bytes(1024), id="an entry of less than no bytes"),
        pytest.param(header(size=2**62) + bytes(1024), id="an entry of endless bytes"),
        pytest.param(header(type=b"x", size=2**80) + bytes(1024), id="endless attributes"),
        pytest.param(
            header_of_negative_size(type=b"x") + bytes(1024), id="attributes of less than no bytes"
        ),
        pytest.param(header(size=2**80) + bytes(1024), id="an entry of more than endless bytes"),
        pytest.param(
            header() + (header(type=b"L", size=4) + b"abc".ljust(512, b"\0")) * 3000 + bytes(1024),
            id="names of names of names",
        ),
    ],
)
def test_a_tar_that_leads_its_reader_astray_is_a_message(tmp_path, refused, content):
    (tmp_path / "a.tar").write_bytes(content)
    refused(tmp_path / "a.tar", "damaged tar archive")


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda z: z[:35] + z[40:], id="bytes lost in its midst"),
        pytest.param(lambda z: z[: z.find(b"PK\5\6")], id="no end"),
        pytest.param(lambda z: z[: z.find(b"PK\5\6") + 10], id="half an end"),
    ],
)
def test_a_zip_whose_list_is_damaged_is_a_message(pack, refused, spoil):
    path = pack({"cat/é.png": b"x" * 50}, "zip")
    path.write_bytes(spoil(path.read_bytes()))
    refused(path, r"damaged zip archive .*Download it again")


NO_UTF_8 = "its name is not in UTF-8, although it claims to be"


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        pytest.param(50, b"\xff\xfe", NO_UTF_8, id="name"),
        pytest.param(6, b"\x63", "NotImplementedError: zip file version", id="version"),
        pytest.param(30, b"\4", "BadZipFile: Corrupt extra field", id="extra fields"),
    ],
)
def test_one_damaged_entry_does_not_keep_the_others_of_a_zip_from_being_read(
    pack, opened, field, value, reason
):
    damaged = entry("cat/é.png", comment=b"\1\0\xff\xff")
    path = pack({damaged: b"damaged", "dog/é.png": b"x"}, "zip")
    rewrite(path, field, value)
    if field == 30:  # the comment becomes extra fields
        rewrite(path, 32, b"\0")
    with opened(path) as tree:
        assert contents(tree) == {"dog/é.png": b"x"}
        name = r"cat/\xff\xfe.png" if reason == NO_UTF_8 else "cat/é.png"
        assert list(refusals(tree)) == [name]
        assert reason in refusals(tree)[name]


def test_a_wrong_place_in_a_zips_list_is_an_error_of_that_file_alone(pack, opened):
    path = pack({"a.png": b"a", "b.png": b"b"}, "zip")
    length = len(path.read_bytes())
    for offset in (1, length - 25, length + 5, 2**32 - 2):
        rewrite(path, 42, struct.pack("<I", offset))
        with opened(path) as tree:
            with pytest.raises(OSError):
                tree.read("a.png")
            assert tree.read("b.png") == b"b"


def test_names_that_are_no_unicode_are_spelled_out_and_read(tmp_path, opened):
    raw = b"caf\xe9.png"
    root = tmp_path / "source"
    write_files(root, {f"cat/{os.fsdecode(raw)}": b"x"})
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(member(f"cat/{os.fsdecode(raw)}", size=1), io.BytesIO(b"x"))
    for path in (root, tmp_path / "a.tar"):
        with opened(path) as tree:
            assert contents(tree) == {r"cat/caf\xe9.png": b"x"}


def test_two_names_that_are_spelled_alike_are_not_mistaken_for_one_another(tmp_path, opened):
    names = {os.fsdecode(b"\xe9.png"): b"latin 1", r"\xe9.png": b"spelled out"}
    write_files(tmp_path / "source", names)
    with opened(tmp_path / "source") as tree:
        assert contents(tree) == {r"\xe9.png": b"spelled out"}
        assert list(refusals(tree)) == [r"\xe9.png"]


def test_a_name_of_255_bytes_is_a_name(pack, opened):
    files = {f"cat/{'ü' * 125}1.png": b"x"}
    for kind in KINDS:
        with opened(pack(files, kind)) as tree:
            assert contents(tree) == files


def test_folders_parted_by_backslashes_are_folders(pack, opened):
    with opened(pack({"cat\\tabby\\1.png": b"x"}, "zip")) as tree:
        assert contents(tree) == {"cat/tabby/1.png": b"x"}


def test_a_path_to_nothing_names_a_remedy(tmp_path, refused):
    refused(tmp_path / "nowhere", r"dataset\.path: .* does not exist\. .*dvc pull")


@pytest.mark.parametrize(
    "content",
    [
        b"", b"a text file", b"PK", b"\x1f\x8b\x08\x00 cut", gzip.compress(b"no tar", mtime=0),
        bz2.compress(b"no tar"), b"\xfd7zXZ\x00\x00", bytes(100),
    ],
    ids=["empty", "text", "PK", "cut gzip", "gzip", "bzip2", "cut xz", "zeros"],
)  # fmt: skip
def test_a_file_that_is_no_archive_names_a_remedy(tmp_path, refused, content):
    (tmp_path / "file").write_bytes(content)
    refused(tmp_path / "file", r"dataset\.path: must be a folder.* got .*Correct")
