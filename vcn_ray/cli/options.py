"""Options of the command line as settings."""

from __future__ import annotations

import argparse

from vcn_ray.config import RunConfig, load_config, with_pack
from vcn_ray.errors import UsageError


def run_settings(options: argparse.Namespace) -> RunConfig:
    """The settings of --profile, --config, --set, --pack and --allow-download."""
    first = {"profile": options.profile} if options.profile else {}
    first |= {"download.allowed": "true"} if options.allow_download else {}
    settings = given_settings(options, first)
    return with_pack(settings, options.pack or settings.pack)


def given_settings(options: argparse.Namespace, first: dict[str, str] | None = None) -> RunConfig:
    """The settings of --config and --set.

    Args:
        options: Of the command line.
        first: Overrides that --set replaces.

    Raises:
        UsageError: A setting is malformed or unknown.
    """
    overrides = dict(first or {})
    for text in options.set:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--set {text}: write it as section.key=value")
        overrides[name.strip()] = value.strip()
    return load_config(options.config, overrides)
