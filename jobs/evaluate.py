"""Run `vcn evaluate` as a Ray job.

`ray job submit --working-dir . -- PYTHON jobs/evaluate.py OUT ...`
"""

import sys

from vcn_ray.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
