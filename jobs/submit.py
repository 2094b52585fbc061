"""A pipeline that is handed to a service, and not waited for."""

from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

import apache_beam as beam

from jobs.examine.findings import Findings
from jobs.execute import options_of, problem_of
from jobs.open_run import OpenRun
from pipelines.load import Plan, build
from schemas.errors import JobError


def submit(found: Findings, plan: Plan, beam_args: Sequence[str], say: Callable[[str], None]) -> int:
    """Build the pipeline and hand it over; the exit code: 0 handed over, 2 the job is wrong, 3 the world is.

    The mark of an open run stays: what this run writes is sent again by the next one, since nobody sees its end.
    """
    run = PurePosixPath(plan.failures).name
    try:
        OpenRun(found, say, beats=False).begin()
        pipeline = beam.Pipeline(options=options_of(beam_args, run))
        build(pipeline, plan)
        pipeline.run()
    except Exception as error:
        problem = problem_of(error)
        say(str(problem))
        return 2 if isinstance(problem, JobError) else 3
    say(f"The job of run {run} is handed over. When it is done: warpbeam report JOB {run}")
    return 0
