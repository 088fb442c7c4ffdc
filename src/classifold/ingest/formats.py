"""The formats and file extensions of images that are read."""

import re

# The decoders that are used. Pillow has more, but some start other programs (EPS starts
# Ghostscript), and others are rare as photos.
FORMATS = (
    *("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "JPEG2000", "AVIF"),
    *("PPM", "TGA", "DIB", "ICO", "PCX", "QOI", "SGI"),
)

# Files of these keep their bytes if they are 8-bit RGB; the others, rarer, are stored again as PNG:
# few programs read them, a TGA or ICO may be mistaken for another format, and Pillow does not
# report the bit depth of a JPEG 2000 or AVIF.
KEPT_FORMATS = ("JPEG", "MPO", "PNG", "BMP", "DIB", "TIFF", "WEBP", "PPM", "GIF")

# Their extensions, without those such as `.pdf` that plugins register.
EXTENSIONS = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".bmp", ".dib"),
        *(".tif", ".tiff", ".webp", ".avif", ".avifs", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf"),
        *(".jpx", ".tga", ".icb", ".vda", ".vst", ".ico", ".pcx"),
        *(".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".qoi", ".sgi", ".rgb", ".rgba", ".bw"),
    )
)
# Images in unsupported formats; they are listed as unreadable instead of ignored.
UNSUPPORTED_EXTENSIONS = frozenset(
    (
        *(".heic", ".heif", ".hif", ".jxl", ".svg", ".eps", ".psd", ".dcm", ".nii", ".dicom"),
        *(".dds", ".exr", ".hdr", ".fits", ".xbm", ".xpm", ".xcf", ".icns", ".cur", ".ras"),
        *(".wmf", ".emf", ".pcd", ".jxr", ".wdp", ".bpg", ".blp", ".dcx", ".fit", ".fli", ".flc"),
        *(".ftc", ".ftu", ".gbr", ".im", ".msp", ".palm", ".pxr"),
        *(".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2"),
    )
)

# Of these, the content is not looked at: there may be a million files of labels beside the images.
TEXT_EXTENSIONS = frozenset(
    (
        *(".txt", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".md", ".rst"),
        *(".html", ".htm", ".py", ".ipynb", ".m", ".sh", ".log", ".tex", ".bib", ".names"),
        *(".parquet", ".npy", ".npz", ".mat", ".h5", ".hdf5", ".pkl", ".pickle", ".pt", ".pth"),
        *(".zip", ".gz", ".tar", ".tgz", ".7z", ".rar", ".pdf", ".docx", ".xlsx", ".xls", ".ods"),
        *(".mp4", ".avi", ".mov", ".mkv", ".webm", ".mp3", ".wav"),
    )
)

# How images in supported formats begin.
_SUPPORTED = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|BM.{4}\0\0\0\0.{4}[\x0c-\x7c]\0\0\0"
    rb"|II[*+]\0|MM\0[*+]|RIFF.{4}WEBP|\0\0\0.ftypavi[fs]"
    rb"|\0\0\0\x0cjP  \r\n|\xff\x4f\xff\x51|qoif|\x01\xda[\0\x01][\x01\x02]"
    rb"|P[1-6]\s+(?:#[^\n]*\s+)*\d+\s+\d|P[Ff]\s+\d+\s+\d",
    re.DOTALL,
)

# How images in unsupported formats begin: they are listed as unreadable, with the format.
_UNSUPPORTED = {
    "HEIC or HEIF": re.compile(rb"\0\0\0.ftyp(?:hei[cfmsx]|hev[cx]|mif1|msf1)", re.DOTALL),
    "JPEG XL": re.compile(rb"\xff\x0a|\0\0\0\x0cJXL "),
    "Photoshop": re.compile(rb"8BPS"),
    "DDS": re.compile(rb"DDS "),
    "OpenEXR": re.compile(rb"\x76\x2f\x31\x01"),
    "DICOM": re.compile(rb".{128}DICM", re.DOTALL),
    "FITS": re.compile(rb"SIMPLE  ="),
}


def is_image(head: bytes) -> bool:
    """Check whether a file is an image by its first 160 bytes."""
    return bool(_SUPPORTED.match(head)) or unsupported_format(head) is not None


def unsupported_format(head: bytes) -> str | None:
    """Find the unsupported format of an image by its first bytes; None for other files."""
    return next((name for name, begin in _UNSUPPORTED.items() if begin.match(head)), None)
