"""Run `vcn report` as a Ray job.

`ray job submit --working-dir . -- PYTHON jobs/report.py OUT ...`
"""

import sys

from vcn_ray.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["report", *sys.argv[1:]]))
