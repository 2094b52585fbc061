"""What Dataflow's launcher starts: a script of its own, so that Warpbeam's classes belong to modules that workers can import."""

import sys

from jobs.template import main

if __name__ == "__main__":
    sys.exit(main())
