"""Run `vcn registry build` as a Ray job.

`ray job submit --working-dir . -- PYTHON jobs/registry.py OUT ...`
It joins the cluster it was submitted to.
"""

import os
import sys

from vcn_ray.cli.main import main

if __name__ == "__main__":
    os.environ.setdefault("RAY_ADDRESS", "auto")
    sys.exit(main(["registry", "build", *sys.argv[1:]]))
