"""Index a catalog as a Ray job.

`ray job submit --working-dir . -- PYTHON jobs/index.py INPUT... --output OUT`, with full paths of
Python and files. The arguments are those of `vcn index`, and the job fails where that command does.
It joins the cluster it was submitted to. `ray job stop` ends it in order; the same command resumes.
"""

import os
import sys

from vcn_ray.cli.main import main

if __name__ == "__main__":
    os.environ.setdefault("RAY_ADDRESS", "auto")
    sys.exit(main(["index", *sys.argv[1:]]))
