"""`python -m vcn_ray` is `vcn`."""

import sys

from vcn_ray.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
