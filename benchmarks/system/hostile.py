"""Makes hostile inputs from sound ones; it knows nothing of what reads them.

Every function takes a generator of random numbers, and gives the same input for the same numbers.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
from onnx import TensorProto, helper, numpy_helper

Random = np.random.Generator

SETTINGS = """profile = "default"
pack = "centerface-sface"
seed = 3
threads = 1

[detect]
analysis_fps = 8.0
segment_seconds = 30.0
decoder_threads = 1

[isolation]
stall_seconds = 60.0
memory_bytes = 4294967296

[s3]
endpoint = "http://127.0.0.1:9000"
"""

PACK = """name = "mine"
licence = "Apache-2.0"
commercial_use = true
source = "here"

[detector]
kind = "yunet"
file = "detector.onnx"
sha256 = "{zeros}"
min_score = 0.5
input_pixels = 960

[aligner]
kind = "arcface"

[encoder]
kind = "onnx"
file = "encoder.onnx"
sha256 = "{zeros}"
input_pixels = 112
mean = [127.5, 127.5, 127.5]

[prior]
stranger_cosine = 0.09
stranger_sd = 0.08
min_score = 0.6
intercept = -30.7
per_score = 1.6
per_length = 0.3
per_stability = 30.1
""".format(zeros="0" * 64)

CSV = "uri,title\na.mp4,Series\nb.mp4,Series\n/films/c d.mp4,\n"
JSONL = '{"uri": "a.mp4", "title": "Series"}\n{"uri": "b.mp4", "title": null}\n'
LABELS = "video,frame,x0,y0,x1,y1,identity\na.mp4,0,1,2,30,40,Ann\na.mp4,5,1,2,30,40,?\n"

VALUES = (
    "[" * 100_000,
    "{a=" * 20_000,
    "[[" * 5_000 + "]]" * 5_000,
    "9" * 5_000,
    "-" + "9" * 4_000,
    "0x" + "f" * 6_000,
    "1e400",
    "nan",
    "-inf",
    "1e-320",
    "2147483648",
    "9223372036854775808",
    "0",
    "-1",
    '"\\u0000"',
    '"a\x00b"',
    '"\x1b[2J\x1b]0;title\x07"',
    '"' + "x" * 50_000 + '"',
    "9999-12-31T23:59:60Z",
    "0000-00-00",
    "true",
    "[]",
    "{}",
    '"""' + "\n" * 1000,
    "'" * 7,
    "",
)
"""Values that readers of TOML, CSV and JSON have stumbled over."""

NAMES = (
    ".".join("a" * 20_000),
    "a" * 200_000,
    "detect.decoder_threads",
    "isolation.stall_seconds",
    "threads",
    "seed",
    "detect",
    "detect.",
    ".",
    "",
    "__class__",
    "detect.__class__.x",
    "\x00",
    "s3.endpoint",
    "adapt.augment.shift",
    "pack",
)

DIMENSIONS = (-(2**62), -1, 0, 1, 3, 7, 112, 10**5, 10**9, 2**31, 2**40, 2**62)


def hostile_text(random: Random, text: str, comment: str = "") -> bytes:
    """Damage a text in one to four ways: values, lines, bytes, encoding.

    Args:
        random: Source of all choices.
        text: A sound one, of lines.
        comment: A character after which values stand, such as `=` of TOML or `,` of CSV.
    """
    lines = text.splitlines()
    for _ in range(int(random.integers(1, 4))):
        row = int(random.integers(len(lines)))
        value = VALUES[random.integers(len(VALUES))]
        match int(random.integers(6)):
            case 0 if comment and comment in lines[row]:
                lines[row] = f"{lines[row].partition(comment)[0]}{comment}{value}"
            case 1:
                lines.insert(row, lines[int(random.integers(len(lines)))])
            case 2:
                lines.pop(row)
                lines = lines or [""]
            case 3:
                lines.insert(row, f"{NAMES[random.integers(len(NAMES))]}{comment}{value}")
            case 4:
                lines[row] = lines[row].replace("a", value[:100])
            case _:
                lines[row] = lines[row][: int(random.integers(len(lines[row]) + 1))]
    return encoded(random, "\n".join(lines))


def encoded(random: Random, text: str) -> bytes:
    """A text as bytes: mostly in UTF-8, else in another encoding or damaged."""
    choice = int(random.integers(10))
    if choice < 4:
        return text.encode()
    if choice < 7:
        kinds = ("utf-16", "utf-16-le", "utf-32", "utf-8-sig", "latin-1", "cp037", "utf-7")
        return text.encode(kinds[random.integers(len(kinds))], "replace")
    return damaged(random, text.encode())


def damaged(random: Random, content: bytes) -> bytes:
    """Bytes with some replaced, inserted, cut off or doubled."""
    data = bytearray(content)
    for _ in range(int(random.integers(1, 8))):
        at = int(random.integers(len(data) + 1))
        match int(random.integers(5)):
            case 0 if at < len(data):
                data[at] = int(random.integers(256))
            case 1:
                data[at:at] = random.bytes(int(random.integers(1, 50)))
            case 2 if random.random() < 0.3:
                del data[at:]
            case 3:
                data[at : at + int(random.integers(1, 100))] = b""
            case _:
                data[at:at] = data[at : at + int(random.integers(1, 100))]
    return bytes(data)


def hostile_override(random: Random) -> tuple[str, str]:
    """A name and a value of --set."""
    name, value = (words[random.integers(len(words))] for words in (NAMES, VALUES))
    if random.random() < 0.3:
        name = damaged(random, name[:100].encode()).decode("utf-8", "replace")
    return name, value


def hostile_manifest(random: Random) -> tuple[str, bytes]:
    """A manifest, by the ending of its name and its content."""
    match int(random.integers(3)):
        case 0:
            return ".csv", hostile_text(random, CSV, ",")
        case 1:
            return ".jsonl", hostile_text(random, JSONL, ":")
        case _:
            return ".parquet", hostile_parquet(random)


def hostile_parquet(random: Random) -> bytes:
    """A manifest as Parquet whose columns have odd types, or whose bytes are damaged."""
    columns: Sequence[Any] = (
        pa.array(["a.mp4", "b.mp4"]),
        pa.array([b"\xff\xfe", b"b"]).view(pa.binary()).view(pa.string()),
        pa.array([1, None]),
        pa.array([[["a"]], None]),
        pa.array([{"a": 1}, {"a": 2}]),
        pa.array(["a\x00.mp4", ""]),
        pa.array([2**40, 5], pa.timestamp("s")),
        pa.array([None, None]),
        pa.array(["x", "x"]).dictionary_encode(),
    )
    names = ("uri", "title", "uri", "urI", "x" * 1000, "", "\x1b[2J")
    chosen = [_one(random, columns) for _ in range(int(random.integers(4)))]
    table = pa.table(chosen, names=[_one(random, names) for _ in chosen])
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return damaged(random, sink.getvalue()) if random.random() < 0.6 else sink.getvalue()


def hostile_insightface(random: Random) -> bytes:
    """A manifest.json of InsightFace's later packs."""
    tasks = {
        task: {"file": f"{task}.onnx", "sha256": "0" * 64, "preprocessing": "embedded"}
        for task in ("detection", "recognition")
    }
    content = {"manifest_version": 2, "model_id": "x", "license": "y", "tasks": tasks}
    return hostile_text(random, json.dumps(content, indent=1), ":")


def hostile_archive(random: Random, files: dict[str, bytes]) -> bytes:
    """A zip archive of files, packed in any way and then damaged."""
    kinds = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", kinds[random.integers(len(kinds))]) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        if random.random() < 0.2:
            archive.writestr("../" * 5 + "outside.onnx", b"x")
    packed = bytearray(sink.getvalue())
    for _ in range(int(random.integers(4))):
        packed[int(random.integers(len(packed)))] = int(random.integers(256))
    return damaged(random, bytes(packed)) if random.random() < 0.3 else bytes(packed)


def hostile_graph(random: Random, model: onnx.ModelProto) -> bytes:
    """A graph with cycles, absurd shapes, other operators or damaged bytes."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for _ in range(int(random.integers(1, 4))):
        if changed.graph.node:
            _change_graph(random, changed.graph)
    content: bytes = changed.SerializeToString()
    return damaged(random, content) if random.random() < 0.2 else content


def _change_graph(random: Random, graph: onnx.GraphProto) -> None:
    change = CHANGES[random.integers(len(CHANGES))]
    change(random, graph, graph.node[random.integers(len(graph.node))])


def _one(random: Random, parts: Sequence[Any]) -> Any:
    return parts[int(random.integers(len(parts)))]


def _cycle(random: Random, graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
    """Let a step read what another one makes, earlier or later."""
    node.input[:] = [*node.input[:-1], *_one(random, graph.node).output[:1]]


def _declare(random: Random, graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
    """Give an input or output other sizes."""
    for axis in _one(random, [*graph.input, *graph.output]).type.tensor_type.shape.dim:
        if random.random() < 0.5:
            axis.dim_value = _one(random, DIMENSIONS)


def _reshape(random: Random, graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
    """Give stored values other sizes than they have."""
    tensor = _one(random, graph.initializer)
    tensor.dims[:] = [_one(random, DIMENSIONS) for _ in tensor.dims]


def _rename(random: Random, graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
    """Give a step another operator."""
    kinds = ("Expand", "Loop", "If", "ConstantOfShape", "Tile", "Pad", "NoSuch", "Add", "Range")
    node.op_type = _one(random, kinds)


def _set(random: Random, graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
    """Give an attribute of numbers other ones."""
    for attribute in node.attribute:
        attribute.ints[:] = [_one(random, DIMENSIONS) for _ in attribute.ints]


def _remove(random: Random, graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
    graph.node.remove(node)


def _repeat(random: Random, graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
    graph.node.append(node)


def _store_outside(random: Random, graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
    """Add values that another file, which never ends, is said to hold."""
    outside = graph.initializer.add()
    outside.CopyFrom(numpy_helper.from_array(np.zeros(3, np.float32), "outside"))
    outside.data_location = TensorProto.EXTERNAL
    entry = outside.external_data.add()
    entry.key, entry.value = "location", "/dev/zero"


def _grow(random: Random, graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
    """Let the output be what a step makes, expanded to absurd sizes."""
    name = f"grown{len(graph.node)}"
    shape = np.array([_one(random, DIMENSIONS) for _ in range(4)], np.int64)
    graph.initializer.append(numpy_helper.from_array(shape, f"{name}_shape"))
    graph.node.append(helper.make_node("Expand", [node.output[0], f"{name}_shape"], [name]))
    graph.output[0].name = name


def _misname(random: Random, graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
    names = ("", "\x00", "a" * 10_000, "\x1b[2J", *node.output)
    node.name = _one(random, names)
    node.input[:] = [*node.input[:-1], _one(random, names)]


CHANGES: tuple[Callable[[Random, onnx.GraphProto, onnx.NodeProto], None], ...] = (
    _cycle,
    _declare,
    _reshape,
    _rename,
    _set,
    _remove,
    _repeat,
    _store_outside,
    _grow,
    _misname,
)


def encoder_graph(side: int = 112, dim: int = 16) -> onnx.ModelProto:
    """A small encoder: three convolutions that halve the picture, and a layer."""
    random = np.random.default_rng(1)
    nodes, weights, source, channels = [], [], "data", 3
    for number, width in enumerate((4, 8, 8)):
        filters = random.normal(0, 0.3, (width, channels, 3, 3)).astype(np.float32)
        weights.append(numpy_helper.from_array(filters, f"w{number}"))
        sides: dict[str, Any] = {"strides": [2, 2], "pads": [1, 1, 1, 1], "kernel_shape": [3, 3]}
        nodes.append(helper.make_node("Conv", [source, f"w{number}"], [f"c{number}"], **sides))
        nodes.append(helper.make_node("Relu", [f"c{number}"], [f"r{number}"]))
        source, channels = f"r{number}", width
    rows = channels * (side // 8) ** 2
    layer = random.normal(0, 0.1, (rows, dim)).astype(np.float32)
    weights.append(numpy_helper.from_array(layer, "layer"))
    nodes.append(helper.make_node("Flatten", [source], ["flat"]))
    nodes.append(helper.make_node("Gemm", ["flat", "layer"], ["embedding"]))
    return _model(nodes, weights, ("data", ["n", 3, side, side]), {"embedding": ["n", dim]})


def detector_graph() -> onnx.ModelProto:
    """Heads of SCRFD on averages of a cell's pixels."""
    random = np.random.default_rng(2)
    nodes, weights = [], []
    outputs: dict[str, list[str]] = {"score": [], "box": [], "points": []}
    for stride in (8, 16, 32):
        sides: dict[str, Any] = {"kernel_shape": [stride, stride], "strides": [stride, stride]}
        nodes.append(helper.make_node("AveragePool", ["picture"], [f"cells{stride}"], **sides))
        for head, columns in (("score", 1), ("box", 4), ("points", 10)):
            name = f"{head}{stride}"
            filters = random.normal(0, 3, (2 * columns, 3, 1, 1)).astype(np.float32)
            weights.append(numpy_helper.from_array(filters, f"{name}_w"))
            weights.append(numpy_helper.from_array(np.array([-1, columns]), f"{name}_shape"))
            nodes.append(helper.make_node("Conv", [f"cells{stride}", f"{name}_w"], [f"{name}_c"]))
            order = [2, 3, 0, 1]
            nodes.append(helper.make_node("Transpose", [f"{name}_c"], [f"{name}_t"], perm=order))
            rows = [f"{name}_t", f"{name}_shape"]
            nodes.append(helper.make_node("Reshape", rows, [f"{name}_rows"]))
            nodes.append(helper.make_node("Sigmoid", [f"{name}_rows"], [name]))
            outputs[head].append(name)
    names: dict[str, list[Any]] = {name: [None, None] for head in outputs.values() for name in head}
    return _model(nodes, weights, ("picture", [1, 3, "h", "w"]), names)


def _model(
    nodes: list[onnx.NodeProto],
    weights: list[onnx.TensorProto],
    given: tuple[str, list[Any]],
    found: dict[str, list[Any]],
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(given[0], TensorProto.FLOAT, given[1])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, s) for name, s in found.items()],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
