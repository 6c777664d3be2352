"""Index a catalog as a Ray job.

`ray job submit --working-dir . -- python jobs/index.py INPUT... --output OUT`: the words after the
file are those of `vcn index`, and the job fails where that command would. It joins the cluster it
was submitted to.
"""

import os
import sys

from vcn_ray.cli import main

if __name__ == "__main__":
    os.environ.setdefault("RAY_ADDRESS", "auto")
    sys.exit(main(["index", *sys.argv[1:]]))
