"""A pipeline that is handed to a service, and not waited for."""

from collections.abc import Sequence
from pathlib import PurePosixPath

from jobs.examine.findings import Findings
from jobs.execute import problem_of, started
from jobs.open_run import OpenRun
from jobs.telling import Say
from pipelines.load import Plan
from schemas.errors import JobError


def submit(found: Findings, plan: Plan, beam_args: Sequence[str], say: Say) -> int:
    """Build the pipeline and hand it over; the exit code: 0 handed over, 2 the job is wrong, 3 the world is.

    The mark of an open run stays: what this run writes is sent again by the next one, since nobody sees its end.
    """
    try:
        OpenRun(found, say, beats=False).begin()
        started(plan, beam_args)
    except Exception as error:
        problem = problem_of(error)
        say(str(problem))
        return 2 if isinstance(problem, JobError) else 3
    run = PurePosixPath(plan.failures).name
    say(f"The job of run {run} is handed over. When it is done: warpbeam report JOB {run}")
    return 0
