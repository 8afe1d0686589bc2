"""What the app does with pixels: reads a header, makes renditions. Knows no storage, no database, no request.

Pillow is imported inside the functions, so that the web process starts without it.
"""

import math
import re
import warnings
from collections.abc import Iterator
from contextlib import suppress
from io import SEEK_CUR, BytesIO
from typing import IO, TYPE_CHECKING, NamedTuple, cast

from django.conf import settings
from django.utils.translation import gettext_noop

from apps.photos.models import LARGE, SMALL

if TYPE_CHECKING:
    from PIL.Image import Image

# No AVIF: its decoder cannot be limited. 2 KB that say 64 x 48 pixels may be 268 megapixels, 3 MB may take a minute.
EXTENSIONS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif"}
MAX_SIDE = 20_000  # pixels
MAX_HEADER = 2_000_000  # bytes that are read until the picture begins
MAX_PARTS = 1000  # segments of a JPEG, chunks of a PNG
MAX_SCANS = 100  # of a JPEG: each goes over the whole picture
SCAN, END = b"\xff\xda", b"\xff\xd9"
# The markers of a JPEG that libjpeg follows. What else begins with 0xFF belongs to the data of a scan.
MARKER = re.compile(rb"\xff[\xc0-\xcf\xd9-\xfe]")

# A broken EXIF block may have 65,535 entries, and Pillow warns of each.
warnings.filterwarnings("ignore", module="PIL.TiffImagePlugin")


DAMAGED = gettext_noop("The file is damaged or incomplete, or not an image of a known format.")
TOO_MANY_PIXELS = gettext_noop("The image has too many pixels to be shown.")
# What may take minutes or gigabytes to decode.
UNUSUAL = gettext_noop("The image has a very long side or more parts than photos have. Save it anew as a JPEG.")


class ImageError(Exception):
    """An image that is not shown. Its text is one of the sentences above, for the person who uploaded the image."""


class Header(NamedTuple):
    format: str  # a key of EXTENSIONS; its content type is image/ and the format in lower case
    width: int
    height: int


def read_header(file: IO[bytes]) -> Header:
    """Return format and size of an image; its parts are counted, nothing is decoded. Raises ImageError."""
    image = open_image(file)
    # MPO is a JPEG with more of them behind it, as some phones and cameras write it.
    return Header("JPEG" if image.format == "MPO" else image.format or "", image.width, image.height)


def open_image(file: IO[bytes]) -> "Image":
    from PIL import Image

    check_parts(file)
    file.seek(0)
    limited = LimitedFile(file)
    Image.MAX_IMAGE_PIXELS = settings.IMAGE_MAX_PIXELS  # beyond twice of it Pillow refuses before we can look
    try:
        image = Image.open(cast("IO[bytes]", limited), formats=list(EXTENSIONS))
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(TOO_MANY_PIXELS) from error
    except Exception as error:  # whatever a hostile file makes a decoder raise
        raise ImageError(DAMAGED) from error
    # The decoder of WebP holds the picture up to four times, with 16 bytes for each pixel, the others up to 9 bytes.
    if image.width * image.height * (2 if image.format == "WEBP" else 1) > settings.IMAGE_MAX_PIXELS:
        raise ImageError(TOO_MANY_PIXELS)
    if max(image.size) > MAX_SIDE:
        raise ImageError(UNUSUAL)
    limited.left = math.inf
    return image


class LimitedFile:
    """A file that raises ImageError after MAX_HEADER bytes; a read counts as 100 bytes at least.

    Pillow reads what stands before the picture part by part, in Python. A WebP it reads whole, and parses it in C.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.left = file, float(MAX_HEADER)
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        content = self.file.read(size)
        self.left -= 0 if size < 0 else max(len(content), 100)
        if self.left < 0:
            raise ImageError(UNUSUAL)
        return content


def check_parts(file: IO[bytes]) -> None:
    """Raise ImageError for a JPEG or PNG of more parts than photos have."""
    walk = {b"\xff\xd8": jpeg_markers, b"\x89P": png_chunks}.get(read_at(file, 0, 2))
    scans = 0
    for number, part in enumerate(walk(file) if walk else (), 1):
        scans += part == SCAN
        if number > MAX_PARTS or scans > MAX_SCANS:
            raise ImageError(UNUSUAL)


def png_chunks(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the names of the chunks, but for the larger ones of the picture: it may have thousands of them."""
    file.seek(8)
    while len(head := file.read(8)) == 8:
        length, name = int.from_bytes(head[:4]), head[4:]
        if name not in (b"IDAT", b"fdAT") or length < 1000:
            yield name
        file.seek(length + 4, SEEK_CUR)


def jpeg_markers(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the markers up to the end of the picture, as libjpeg does: it skips what is in a segment (a thumbnail)."""
    position = 0
    while len(block := read_at(file, position, 16_384)) > 1:
        found = MARKER.search(block)
        if not found:
            position += len(block) - 1  # the last byte may begin a marker
        elif found.group() == END:
            return
        else:
            yield found.group()
            position += found.end()
            position += int.from_bytes(read_at(file, position, 2))


def read_at(file: IO[bytes], position: int, size: int) -> bytes:
    file.seek(position)
    return file.read(size)


def render(file: IO[bytes]) -> tuple[dict[int, bytes], tuple[int, int]]:
    """Return the renditions as WebP files by the length of their longer side, and the size of the upright original.

    Of an animation it is the first frame. Raises ImageError.
    """
    from PIL import ExifTags, ImageOps

    image = open_image(file)
    size, orientation = image.size, 1
    try:
        scale = 2 * LARGE / max(size)
        image.draft(None, (math.ceil(scale * size[0]), math.ceil(scale * size[1])))  # a JPEG is decoded smaller
        picture = with_plain_mode(image)
        picture.thumbnail((LARGE, LARGE), reducing_gap=2)
        picture.load()
    except (OSError, RuntimeError, SyntaxError, ValueError, EOFError, IndexError) as error:
        raise ImageError(DAMAGED) from error
    with suppress(Exception):  # a broken EXIF block turns nothing
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    picture = to_srgb(picture, image.info.get("icc_profile"))
    picture.info.clear()  # of all that the file says of itself
    picture.getexif()[ExifTags.Base.Orientation] = orientation
    picture = ImageOps.exif_transpose(picture)
    renditions = {}
    for side in (LARGE, SMALL):
        picture.thumbnail((side, side))
        picture.save(buffer := BytesIO(), "WEBP", quality=82, method=4)
        renditions[side] = buffer.getvalue()
    # These orientations exchange the sides.
    return renditions, size[::-1] if orientation in (5, 6, 7, 8) else size


def with_plain_mode(image: "Image") -> "Image":
    """Return the image in L, RGB, RGBA or CMYK, the modes that can be made smaller. That of a JPEG is not decoded."""
    if image.mode.startswith("I;16"):  # 16 bits of grey, which Pillow would clip and not scale
        return image.point(lambda value: value * (1 / 257)).convert("L")
    if image.mode in ("L", "RGB", "RGBA", "CMYK") and "transparency" not in image.info:
        return image
    return image.convert("RGBA" if image.has_transparency_data else "L" if image.mode == "1" else "RGB")


def to_srgb(image: "Image", profile: bytes | None) -> "Image":
    """Return the image in RGB or RGBA, its colours converted from the profile; a broken profile counts as none."""
    from PIL import ImageCms

    mode = "RGBA" if image.mode == "RGBA" else "RGB"
    if profile and b"mpet" not in profile:  # a chain of elements, which may be as long as to take minutes
        with suppress(ImageCms.PyCMSError, OSError, ValueError):
            source, srgb = ImageCms.ImageCmsProfile(BytesIO(profile)), ImageCms.createProfile("sRGB")
            return ImageCms.profileToProfile(image, source, srgb, outputMode=mode) or image
    return image.convert(mode)
