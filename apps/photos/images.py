"""What the app does with pixels: reads a header, makes renditions. Knows no storage, no database, no request.

Pillow is imported inside the functions, so that the web process starts without it.
"""

from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from typing import IO, TYPE_CHECKING

from django.conf import settings

from apps.photos.models import LARGE, SMALL

if TYPE_CHECKING:
    from PIL.Image import Image

EXTENSIONS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "AVIF": "avif"}
ORIENTATION = 0x0112  # the EXIF tag that says how to turn the picture
STRIP = 64  # rows of the shrunk picture that are made at a time


class NotAnImageError(Exception):
    """Not a file of the known formats, or a damaged one."""


class TooManyPixelsError(Exception):
    """Its argument is the number of pixels that are allowed."""


@dataclass(frozen=True)
class Header:
    format: str  # a key of EXTENSIONS; its content type is image/ and the format in lower case
    width: int
    height: int


def formats() -> list[str]:
    """The formats that this installation of Pillow reads."""
    from PIL import features

    return [name for name in EXTENSIONS if name != "AVIF" or features.check("avif")]


def max_pixels(format: str) -> int:
    """How many pixels an image may have, so that a worker of 512 MB can make its renditions.

    The decoders of WebP and AVIF hold the picture up to four times, with 16 bytes for each pixel, the others up to
    9 bytes: so these two may have half of IMAGE_MAX_PIXELS.
    """
    return int(settings.IMAGE_MAX_PIXELS * (0.5 if format in ("WEBP", "AVIF") else 1))


def read_header(file: IO[bytes]) -> Header:
    """Format and size of an image, from its first bytes: nothing is decoded.

    Raises NotAnImageError or TooManyPixelsError.
    """
    image = open_image(file)
    # MPO is a JPEG with more of them behind it, as some phones and cameras write it.
    return Header("JPEG" if image.format == "MPO" else image.format or "", image.width, image.height)


def open_image(file: IO[bytes]) -> "Image":
    from PIL import Image

    file.seek(0)
    Image.MAX_IMAGE_PIXELS = settings.IMAGE_MAX_PIXELS  # beyond twice of it Pillow refuses before we can look
    try:
        image = Image.open(file, formats=formats())
    except Image.DecompressionBombError as error:
        raise TooManyPixelsError(settings.IMAGE_MAX_PIXELS) from error
    except Exception as error:  # whatever a hostile file makes a decoder raise
        raise NotAnImageError from error
    if image.width * image.height > max_pixels(image.format or ""):
        raise TooManyPixelsError(max_pixels(image.format or ""))
    return image


def render(file: IO[bytes]) -> tuple[dict[int, bytes], tuple[int, int]]:
    """The renditions as WebP files by the length of their longer side, and the size of the upright original.

    Of an animation it is the first frame. Raises NotAnImageError or TooManyPixelsError.
    """
    from PIL import Image, ImageOps

    image = open_image(file)
    size = image.size
    try:
        scale = 2 * LARGE / max(size)
        image.draft(None, (max(1, int(size[0] * scale)), max(1, int(size[1] * scale))))  # a JPEG is decoded smaller
        image.load()
        picture = shrink(image, 2 * LARGE)
    except (
        OSError,
        RuntimeError,
        SyntaxError,
        ValueError,
        EOFError,
        IndexError,
        Image.DecompressionBombError,
    ) as error:
        raise NotAnImageError from error
    orientation, profile = 1, image.info.get("icc_profile")
    with suppress(Exception):  # a broken EXIF block turns nothing
        orientation = image.getexif().get(ORIENTATION, 1)
    del image
    picture.thumbnail((LARGE, LARGE))
    picture = to_srgb(picture, profile)
    picture.getexif()[ORIENTATION] = orientation
    picture = ImageOps.exif_transpose(picture)
    renditions = {LARGE: as_webp(picture)}
    picture.thumbnail((SMALL, SMALL))
    renditions[SMALL] = as_webp(picture)
    # These orientations exchange the sides.
    return renditions, size[::-1] if orientation in (5, 6, 7, 8) else size


def shrink(image: "Image", target: int) -> "Image":
    """A copy in L, RGB, RGBA or CMYK, with the longer side below twice the `target` where it was above.

    It is new, so nothing that the file says of itself gets into the renditions. It is made in strips: converting or
    reducing the whole would hold a second picture in full size.
    """
    from PIL import Image

    deep = image.mode.startswith("I;16")  # 16 bits of grey, which Pillow would clip and not scale
    if deep or image.mode in ("1", "L"):
        mode = "RGBA" if "transparency" in image.info and not deep else "L"
    else:
        mode = "RGBA" if image.has_transparency_data else "CMYK" if image.mode == "CMYK" else "RGB"
    factor = max(1, max(image.size) // target)
    small = Image.new(mode, (-(-image.width // factor), -(-image.height // factor)))
    for top in range(0, image.height, STRIP * factor):
        strip = image.crop((0, top, image.width, min(top + STRIP * factor, image.height)))
        if deep:
            strip = strip.point(lambda value: value * (1 / 257)).convert("L")
        small.paste(strip.convert(mode).reduce(factor), (0, top // factor))
    return small


def to_srgb(image: "Image", profile: bytes | None) -> "Image":
    """The image in RGB or RGBA, its colours converted from the profile; a broken profile counts as none."""
    from PIL import ImageCms

    alpha = image.getchannel("A") if image.mode == "RGBA" else None
    colours = image if image.mode == "CMYK" else image.convert("RGB")
    if profile:
        with suppress(ImageCms.PyCMSError, OSError, ValueError):
            source, srgb = ImageCms.ImageCmsProfile(BytesIO(profile)), ImageCms.createProfile("sRGB")
            grey = source.profile.xcolor_space.strip() == "GRAY"
            given = colours.convert("L") if grey else colours
            colours = ImageCms.profileToProfile(given, source, srgb, outputMode="RGB") or colours
    colours = colours.convert("RGB")
    if alpha:
        colours.putalpha(alpha)
    return colours


def as_webp(image: "Image") -> bytes:
    buffer = BytesIO()
    image.save(buffer, "WEBP", quality=82, method=4)
    return buffer.getvalue()
