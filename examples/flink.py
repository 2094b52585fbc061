"""`make flink`: the demo with its load on a real Flink cluster, which this script starts on this machine and stops again."""

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from examples.demo import main as demo  # noqa: E402
from examples.demo import start  # noqa: E402
from jobs.flink.recorded import kept_as_found  # noqa: E402

HOME = ROOT / ".warpbeam" / "flink"


def main() -> None:
    """Start the cluster (a JobManager, two TaskManagers, Beam's job server), run the demo on it, stop what was started."""
    print("0. A Flink cluster on this machine; its jar is built first if it is missing (some minutes, once)", flush=True)
    with kept_as_found(HOME) as cluster:
        print(f"JobManager http://{cluster.rest}, job server {cluster.job_endpoint}, logs in {cluster.folder}\n", flush=True)
        demo(cluster.beam_args(parallelism=2))


if __name__ == "__main__":
    start(main)
