"""The formats and file extensions of images that are read."""

# The decoders that are used. Pillow has more, but some start other programs (EPS starts
# Ghostscript), and others are rare as photos.
FORMATS = (
    *("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "JPEG2000", "AVIF"),
    *("PPM", "TGA", "DIB", "ICO", "PCX", "QOI", "SGI"),
)

# Files of these keep their bytes if they are 8-bit RGB and upright; the others, rarer, are stored
# again as PNG: few programs read them, a TGA or ICO may be mistaken for another format, and Pillow
# does not report the bit depth of a JPEG 2000 or AVIF.
KEPT_FORMATS = ("JPEG", "MPO", "PNG", "BMP", "DIB", "TIFF", "WEBP", "PPM", "GIF")

# Their extensions, without those such as `.pdf` that plugins register.
EXTENSIONS = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".bmp", ".dib"),
        *(".tif", ".tiff", ".webp", ".avif", ".jp2", ".j2k", ".jpx", ".tga", ".ico", ".pcx"),
        *(".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".qoi", ".sgi"),
    )
)
# Images that are not read here; they are listed as unreadable instead of ignored.
UNREAD_EXTENSIONS = frozenset(
    (
        *(".heic", ".heif", ".jxl", ".svg", ".eps", ".psd", ".dcm", ".nii"),
        *(".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2"),
    )
)
