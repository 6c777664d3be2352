"""The command `vcn review`: the page on which people are named and corrected."""

from __future__ import annotations

import argparse

from vcn_ray.cli.options import given_settings
from vcn_ray.console import say
from vcn_ray.io.storage import Storage


def review(options: argparse.Namespace) -> int:
    """Serve the page until it is interrupted, which is its usual end."""
    from vcn_ray.review.serve import (
        open_browser,
        prepare_page,
        serve,
    )  # a server takes a moment to import

    settings = given_settings(options)

    def show(address: str) -> None:
        say("names and corrections are kept as they are made; end with Ctrl+C")
        say(address)
        if not options.no_browser:
            open_browser(address)

    page = prepare_page(
        Storage.open(options.output, settings.s3),
        settings,
        title=options.title,
        who=options.who,
        port=options.port,
    )
    try:
        serve(page, show)
    except KeyboardInterrupt:
        say("ended")
    return 0
