"""Checks Python, the packages that a run needs, and the FFmpeg in PyAV; it opens no video."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from vcn_ray.health.finding import Finding, fault, ok, warning

PACKAGE = "vcn-ray"
TESTED_PYTHON = ((3, 11), (3, 12))
SHOWN = ("ray", "torch", "av", "onnxruntime", "opencv-python", "numpy", "pyarrow", "boto3")
"""Packages whose versions are always shown; of the others, only what is wrong."""

DECODERS = ("h264", "hevc", "av1", "vp8", "vp9", "mpeg1video", "mpeg2video", "mpeg4", "vc1", "wmv3")
MORE_DECODERS = ("theora", "prores", "dnxhd", "dvvideo", "mjpeg", "ffv1", "rv40", "flv", "h263")
HARDWARE = ("_cuvid", "_qsv", "_v4l2m2m")  # how FFmpeg's names of hardware decoders end

KNOWN_BAD = {
    "ray": ("<2.56", "it has published security advisories"),
    "torch": ("<2.13", "it has published security advisories"),
    "onnxruntime": ("<1.30.1", "it has published security advisories"),
    "onnx": ("<1.22", "it has published security advisories"),
    "pyarrow": ("<23.0.1", "it has published security advisories"),
    "pillow": ("<13", "it has published security advisories"),
    "jinja2": ("<3.1.6", "it has published security advisories"),
    "filelock": ("<4.2.1", "it has published security advisories"),
}
"""Versions that must not run, and why; a clone whose metadata is old does not know them."""

SAME_FILES = (("opencv-python", "opencv-python-headless"), ("onnxruntime", "onnxruntime-gpu"))
"""Packages that write the same files: of different versions, the one installed last wins."""


def software_findings() -> Iterator[Finding]:
    """Check Python, packages and PyAV."""
    yield python_finding(sys.version_info[:2])
    yield from package_findings(metadata.requires(PACKAGE) or [])
    yield from twin_findings()
    yield from media_findings()


def python_finding(version: tuple[int, int]) -> Finding:
    """Check the version of Python."""
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if version < TESTED_PYTHON[0]:
        return fault("python", text, "use Python 3.11 or newer")
    if version not in TESTED_PYTHON:
        tested = " and ".join(".".join(map(str, each)) for each in TESTED_PYTHON)
        return warning("python", text, f"it is tested with {tested}: use one of these")
    return ok("python", text)


def package_findings(requirements: list[str]) -> Iterator[Finding]:
    """Check that packages are installed, in a version that is asked for and not known to be bad.

    Args:
        requirements: As in the metadata of a package.
    """
    good = 0
    for text in requirements:
        wanted = Requirement(text)
        if wanted.marker and not wanted.marker.evaluate({"extra": ""}):
            continue
        finding = package_finding(wanted, find_version(wanted.name))
        if finding.state != "ok" or wanted.name in SHOWN:
            yield finding
        good += finding.state == "ok"
    yield ok("packages", f"{good} as required")


def find_version(name: str) -> str | None:
    """The installed version of a package; None: there is none."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def package_finding(wanted: Requirement, version: str | None) -> Finding:
    """Check the installed version of a package."""
    install = f"pip install '{wanted.name}{wanted.specifier}'"
    if version is None:
        return fault(wanted.name, "not installed", install)
    bad, why = KNOWN_BAD.get(wanted.name, ("", ""))
    if bad and SpecifierSet(bad).contains(version, prereleases=True):
        return fault(wanted.name, f"{version}: {why}", f"pip install --upgrade {wanted.name}")
    if not wanted.specifier.contains(version, prereleases=True):
        return fault(wanted.name, f"{version}, but {wanted.specifier} is needed", install)
    return ok(wanted.name, version)


def twin_findings() -> Iterator[Finding]:
    """Check packages that write the same files."""
    for first, second in SAME_FILES:
        versions = find_version(first), find_version(second)
        if None not in versions and versions[0] != versions[1]:
            yield warning(
                first,
                f"{versions[0]}, and {second} {versions[1]} in the same folder",
                "install both in one version, or uninstall both and install one again",
            )


def media_findings() -> Iterator[Finding]:
    """Check FFmpeg as PyAV brings it: its version, licence, decoders, and those in hardware."""
    import av  # a broken FFmpeg fails here, and is then a finding
    from av.codec import codecs_available
    from av.codec.hwaccel import hwdevices_available

    licences = sorted(_licences())
    yield ok("ffmpeg", f"{av.ffmpeg_version_info}, {' and '.join(licences) or 'licence unknown'}")
    yield from decoder_findings(set(codecs_available), hwdevices_available())


def decoder_findings(codecs: set[str], devices: Iterable[str]) -> Iterator[Finding]:
    """Check which decoders FFmpeg was built with.

    Args:
        codecs: Names of all codecs that it knows.
        devices: Kinds of devices that its own decoders can use.
    """
    missing = [name for name in DECODERS if name not in codecs]
    rest = [name for name in MORE_DECODERS if name not in codecs]
    advice = "install the wheel of PyAV from PyPI: pip install --force-reinstall av"
    if missing:
        yield fault("decoders", f"without {', '.join(missing)}", advice)
    elif rest:
        yield warning("decoders", f"without {', '.join(rest)}", advice)
    else:
        yield ok("decoders", ", ".join((*DECODERS, *MORE_DECODERS)))
    kinds = {name.rpartition("_")[2] for name in codecs if name.endswith(HARDWARE)}
    yield ok(
        "hardware decoders",
        f"built in: {', '.join(sorted(kinds.union(devices))) or 'none'}; a run uses cuda alone",
    )


def _licences() -> set[str]:
    from av import _core  # PyAV shows the builds of its libraries only here

    found = getattr(_core, "library_meta", {})
    return {str(each.get("license", "")) for each in found.values()} - {""}
