"""An Airflow DAG that loads a new version every night, verifies it, and only then lets applications see it.

Each task is the command line; its exit code decides: 0 done, 1 rows failed or something is wrong, 2 the job, 3 the
world. Only the last passes by itself, so only it is tried again. Airflow and Warpbeam have environments of their own:
WARPBEAM names the program, JOB the job file (with `target.alias`, which `publish` moves).
"""

import os
from datetime import datetime, timedelta

from airflow.exceptions import AirflowFailException
from airflow.sdk import dag, task

WARPBEAM = os.environ.get("WARPBEAM", "/opt/warpbeam/bin/warpbeam")
JOB = os.environ.get("WARPBEAM_JOB", "/opt/jobs/products.yaml")
WORLD = 3  # the exit code of a server or a network that is away


def command(*arguments: str) -> None:
    """Run the command line; what only a person can mend is not tried again."""
    import subprocess

    code = subprocess.run([WARPBEAM, *arguments]).returncode
    if code == WORLD:
        raise RuntimeError(f"warpbeam {arguments[0]}: exit code {code}; tried again")
    if code:
        raise AirflowFailException(f"warpbeam {arguments[0]}: exit code {code}; see the report of the job")


@dag(
    schedule="0 2 * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,  # two loads of one job would write one collection
    default_args={"retries": 3, "retry_delay": timedelta(minutes=10)},
)
def load_products():
    @task
    def run() -> None:
        command("run", JOB)

    @task
    def verify() -> None:
        command("verify", JOB)

    @task
    def publish() -> None:
        command("publish", JOB)

    run() >> verify() >> publish()


load_products()
