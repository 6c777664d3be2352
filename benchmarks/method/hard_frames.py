"""The pictures of a shot: photographs in motion before a backdrop, in one light, after H.264.

Heads turn on a cylinder, which hides one side of the face and shows the other one wider. That is a
crude profile: no depth, and nothing that the photograph did not see. It knows no detector.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

import av
import cv2
import numpy as np

from benchmarks.method.hard_config import FPS, Look, Path, Role, Script, Shot
from benchmarks.method.photographs import CELL, Gallery, Photograph
from benchmarks.method.props import Props, pictures
from vcn_ray.records import F32, F64, U8

ENCODER_MULTIPLE = 128  # pixels of width
BODY = CELL  # rows that continue a photograph below its edge, as clothes
HEAD_RADIUS = 0.62  # of the cylinder, in widths of the face
MOUTH = 0.22  # between the lips, below the middle of the face, in heights of the face
FARTHEST = np.deg2rad(80)  # from the middle of the face, the last that a photograph shows


class Cell(NamedTuple):
    """A picture of one face without its surroundings."""

    rgb: F32  # (h, w, 3)
    cover: F32  # (h, w) alpha in [0, 1]
    box: F32  # (4,) of the face


class Layer(NamedTuple):
    """A face in a frame, before its light."""

    rgb: F32  # (h, w, 3) of the region
    cover: F32  # (h, w, 1)
    corner: tuple[int, int]  # x y of the region
    box: F32  # (4,) of the face, pixels of the frame


class Rendered(NamedTuple):
    """A shot as a decoder gives it, and where the faces are."""

    frames: U8  # (f, h, w, 3) RGB
    boxes: F32  # (f, r, 4) of each role, x0 y0 x1 y1, pixels


def render_shot(
    shot: Shot, script: Script, gallery: Gallery, props: Props, random: np.random.Generator
) -> Rendered:
    """Draw the frames of a shot, and send them through an encoder.

    Args:
        shot: Of the script.
        script: Sizes, light and bit rate.
        gallery: The photographs.
        props: Things that look like faces.
        random: Draws grain, and how the camera shakes.
    """
    look = script.scenes[shot.scene]
    backdrop = draw_backdrop(look, script)
    cells = [cell_of(role, gallery, props) for role in shot.roles]
    heights = [role.path.height[0] for role in shot.roles]
    order = np.argsort(heights, kind="stable")  # near ones last
    boxes = np.zeros((shot.frames, len(shot.roles), 4), np.float32)
    drawn = []
    for frame in range(shot.frames):
        picture = backdrop.copy()
        shake = random.normal(0, look.shake, 2)
        for number in order:
            layer = place_cell(cells[number], shot.roles[number], frame, shake, look)
            boxes[frame, number] = layer.box
            blend(picture, layer)
        drawn.append(expose(picture, look, script.grain, random))
    return Rendered(reencode(np.stack(drawn), script.crf), boxes)


def draw_backdrop(look: Look, script: Script) -> F32:
    """A region of a picture without faces, out of focus."""
    which, x, y, zoom = look.backdrop
    picture = pictures()[int(which * len(pictures()))]
    height, width = picture.shape[:2]
    tall = min(height, width * script.lines / script.width) * (0.4 + 0.6 * zoom)
    wide = tall * script.width / script.lines
    top, left = int(y * (height - tall)), int(x * (width - wide))
    region = picture[top : top + int(tall), left : left + int(wide)]
    large = cv2.resize(region, (script.width, script.lines)).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(large, (0, 0), script.lines / 100), np.float32)


def cell_of(role: Role, gallery: Gallery, props: Props) -> Cell:
    """The picture of a role at its own size, without turn and light."""
    if role.kind == "prop":
        number = prop_number(role, props)
        pixels = props.cells[number].astype(np.float32)
        return Cell(pixels, soft_square(pixels.shape[:2]), props.boxes[number])
    photos = gallery.photographs(role.person)
    photo = photos[int(role.photo * len(photos))]
    cover = soft_body(photo)
    if role.kind == "screen":
        cover = np.zeros_like(cover)
        cover[:CELL] = 1
    rgb = cv2.copyMakeBorder(photo.pixels, 0, BODY, 0, 0, cv2.BORDER_REPLICATE).astype(np.float32)
    box = photo.box
    if role.kind == "screen":
        rgb = rgb * np.array([0.6, 0.75, 0.95], np.float32)
        rgb[::4] *= 0.7
        rgb[1::4] *= 0.7
    if role.kind == "mirror":
        rgb, cover = np.ascontiguousarray(rgb[:, ::-1]) * 0.85, np.ascontiguousarray(cover[:, ::-1])
        box = np.array([CELL - box[2], box[1], CELL - box[0], box[3]], np.float32)
    if role.cover:
        rgb = hide_side(rgb, box, role.cover)
    return Cell(rgb, cover, box)


def prop_number(role: Role, props: Props) -> int:
    """Which prop a role is."""
    return int(role.photo * len(props.cells))


def soft_body(photo: Photograph) -> F32:
    """Head and shoulders (CELL + BODY, CELL) as alpha: the surroundings belong to no film."""
    rows, columns = np.mgrid[0 : CELL + BODY, 0:CELL].astype(np.float32)
    x0, y0, x1, y1 = photo.box
    x, y, wide, tall = (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0
    head = 1.35 - np.hypot((columns - x) / (0.8 * wide), (rows - y) / (0.85 * tall))
    sides = (1.25 * wide - np.abs(columns - x)) / wide
    shoulders = np.minimum((rows - y1 + 0.1 * tall) / (0.5 * tall) + 0.3, sides)
    alpha: F32 = (np.maximum(head, shoulders) / 0.35).clip(0, 1).astype(np.float32)
    edge = np.minimum(columns, CELL - 1 - columns) / 12  # a photograph ends softly
    alpha *= np.minimum(edge, rows / 12).clip(0, 1)
    return alpha


def soft_square(size: tuple[int, ...]) -> F32:
    """A cell without its rim, as alpha with soft edges."""
    rows, columns = (np.minimum(np.arange(n), np.arange(n)[::-1]) for n in size)
    rim = np.minimum(rows[:, None], columns[None])
    alpha: F32 = ((rim - 2) / 16).clip(0, 1).astype(np.float32)
    return alpha


def hide_side(rgb: F32, box: F32, cover: float) -> F32:
    """Put something of one colour, taken from the picture's lower edge, before a side of a face."""
    width = box[2] - box[0]
    columns = np.arange(rgb.shape[1], dtype=np.float32)
    depth = (columns - box[2] if cover > 0 else box[0] - columns) + abs(cover) * width
    alpha = (depth / (0.06 * width)).clip(0, 1)[None, :, None]
    colour = 0.6 * rgb[CELL - 20 : CELL].mean(axis=(0, 1))
    hidden: F32 = (rgb * (1 - alpha) + colour * alpha).astype(np.float32)
    return hidden


def turned(places: F64, middle: float, radius: float, degrees: float) -> F32:
    """Where on a photograph the places (n,) of a head show it, once it turns on a cylinder.

    Args:
        places: Columns, or rows for a nod.
        middle: Of the face.
        radius: Of the head.
        degrees: To the right, or downwards, where positive.
    """
    across = (places - middle) / radius
    angle = np.arcsin(across.clip(-1, 1)) - np.deg2rad(degrees)
    shown = np.sin(angle.clip(-FARTHEST, FARTHEST))
    beyond = np.abs(across) - 1
    shift = (shown - np.sign(across)) * (1 - beyond / 0.8).clip(0, 1)  # the neck stays
    source: F64 = np.where(beyond > 0, across + shift, shown) * radius + middle
    return source.astype(np.float32)


def move_head(rgb: F32, box: F32, path: Path, frame: int) -> F32:
    """Turn, nod, and open the mouth."""
    (x, y), (wide, tall) = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
    height, width = rgb.shape[:2]
    yaw, nod = path.yaw[frame].clip(-60, 60), path.nod[frame].clip(-35, 35)
    columns = turned(np.arange(width, dtype=np.float64), x, HEAD_RADIUS * wide, yaw)
    rows = np.arange(height, dtype=np.float64)
    lip = y + MOUTH * tall
    rows -= path.speech[frame] * tall * ((rows - lip) / (0.15 * tall)).clip(0, 1)  # the jaw drops
    x_map, y_map = np.meshgrid(columns, turned(rows, y, HEAD_RADIUS * tall, nod))
    border = cv2.BORDER_REPLICATE
    return np.asarray(cv2.remap(rgb, x_map, y_map, cv2.INTER_LINEAR, borderMode=border))


def place_cell(cell: Cell, role: Role, frame: int, shake: F64, look: Look) -> Layer:
    """Turn a cell, light it from the side, and move it to its place in a frame."""
    path = role.path
    rgb, cover, box = cell
    tall, wide = box[3] - box[1], box[2] - box[0]
    middle = (box[:2] + box[2:]) / 2
    if role.kind != "prop":
        rgb = move_head(rgb, box, path, frame)
        across = (np.arange(rgb.shape[1], dtype=np.float32) - middle[0]) / wide
        rgb = rgb * (1 + look.side * across).clip(0.15, 1.7)[None, :, None]
    scale = float(path.height[frame] / (1 if role.kind == "prop" else tall))
    if role.pixels:
        rgb = defocus(rgb, role.pixels / tall)
    elif scale < 0.7:
        rgb = cv2.GaussianBlur(rgb, (0, 0), 0.4 / scale)
    centre = path.centre[frame] + shake
    matrix = cv2.getRotationMatrix2D(middle.astype(float).tolist(), float(path.roll[frame]), scale)
    matrix[:, 2] += centre - middle
    corners = np.array([[0, 0, 1], [1, 0, 1], [0, 1, 1], [1, 1, 1]]) * [*rgb.shape[1::-1], 1]
    placed = corners @ matrix.T
    low = np.floor(placed.min(axis=0)).astype(int) - 4
    size = np.ceil(placed.max(axis=0)).astype(int) + 4 - low
    matrix[:, 2] -= low
    rgba = cv2.warpAffine(np.dstack([rgb, cover * 255]), matrix, tuple(size.tolist()))
    rgba = smear(rgba, path.smear[frame])
    half = np.array([wide, tall]) / 2 * scale
    face = np.concatenate([centre - half, centre + half]).astype(np.float32)
    alpha = rgba[..., 3:] / np.float32(255)
    return Layer(rgba[..., :3], alpha, (int(low[0]), int(low[1])), face)


def defocus(rgb: F32, scale: float) -> F32:
    """Keep as much of a picture as a much smaller one would hold."""
    height, width = rgb.shape[:2]
    size = max(2, round(width * scale)), max(2, round(height * scale))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height)), np.float32)


def smear(rgba: F32, vector: F64) -> F32:
    """Blur along the way that something moves while the shutter is open."""
    length = float(np.hypot(*vector))
    if length < 1.5:
        return rgba
    half = int(np.ceil(length / 2))
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    x, y = vector / length * half
    start, end = (round(half - x), round(half - y)), (round(half + x), round(half + y))
    cv2.line(kernel, start, end, 1.0)
    return np.asarray(cv2.filter2D(rgba, -1, kernel / kernel.sum()), np.float32)


def blend(picture: F32, layer: Layer) -> None:
    """Lay a face over a picture, which is changed."""
    x, y = layer.corner
    height, width = layer.rgb.shape[:2]
    top, left = max(0, -y), max(0, -x)
    bottom, right = min(height, picture.shape[0] - y), min(width, picture.shape[1] - x)
    if top >= bottom or left >= right:
        return
    under = picture[y + top : y + bottom, x + left : x + right]
    cover = layer.cover[top:bottom, left:right]
    under += cover * (layer.rgb[top:bottom, left:right] - under)


def expose(picture: F32, look: Look, grain: float, random: np.random.Generator) -> U8:
    """Light, haze, focus and grain of a frame; a dark picture has more grain."""
    light = (picture / 255).clip(0, 1) ** look.gamma * look.gain * look.tint.astype(np.float32)
    light = (look.haze + (1 - look.haze) * light) * 255
    if look.blur > 0.3:
        light = cv2.GaussianBlur(light, (0, 0), look.blur)
    noise = random.standard_normal(picture.shape[:2], np.float32)[..., None]
    return np.asarray((light + noise * grain).clip(0, 255), np.uint8)


def reencode(frames: U8, crf: float) -> U8:
    """Send frames (f, h, w, 3) through H.264 and back; the same frames give the same bits."""
    width = frames.shape[2]
    # At other widths x264 gave other bits from one call to the next; the cause is not known.
    missing = -width % ENCODER_MULTIPLE
    frames = np.pad(frames, ((0, 0), (0, 0), (0, missing), (0, 0)), mode="edge")
    memory = io.BytesIO()
    with av.open(memory, "w", format="mp4") as film:
        stream = film.add_stream("libx264", rate=round(FPS))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        # Several threads would give other bits on another machine.
        stream.options = {"crf": f"{crf:.1f}", "preset": "veryfast", "threads": "1"}
        for pixels in frames:
            film.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        film.mux(stream.encode(None))
    memory.seek(0)
    with av.open(memory) as film:
        shown: Sequence[U8] = [f.to_ndarray(format="rgb24") for f in film.decode(video=0)]
    return np.stack(shown)[:, :, :width]
