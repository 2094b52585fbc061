"""`run --adopt`: take over a collection that was loaded by other means, without encoding what is right."""

import numpy as np

from jobs.examine.findings import Findings
from jobs.examine.matching import SAME, compare
from jobs.examine.proof import stored_sample, tenants_written
from jobs.examine.sample import Sample
from jobs.incremental import is_tracked
from schemas.errors import JobError


def prove_adoption(found: Findings, sample: Sample) -> None:
    """See that the stored vectors are those that this job would make; otherwise old ones would be kept as if they were.

    Raises JobError, with what a person can do.
    """
    assert found.collection and found.target
    if found.creates:
        raise JobError(f"--adopt: collection {found.collection.name} is missing, so there is nothing to take over; leave it out")
    if not is_tracked(found.collection) and not found.job.target.incremental:
        raise JobError("--adopt: objects that are taken over have to remember it; say target.incremental: true, which adds two properties")
    stored = stored_sample(found, tenants_written(found, sample))
    if stored is None:
        raise JobError(f"--adopt: collection {found.collection.name} holds no objects; leave it out")
    for name, spec in found.job.vectors.items():
        if spec.model is None:
            continue
        match = compare(spec, name, stored)
        if not match.same:
            seen = f"{np.sum(match.difference <= SAME)} of {match.compared} stored vectors" if match.compared else "no stored vector"
            raise JobError(
                f"--adopt: vectors.{name}: {seen} are what this job would make; only a collection with this very model and these fields "
                "can be taken over. `warpbeam check` says what differs"
            )
