"""Nothing is lost between two stages of the local runner, however long a bundle takes."""

import sys
import time
from collections.abc import Iterator

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that, equal_to

from jobs.local_runner import local_runner

EACH, SECONDS = 200_000, 4.0


class Emit(beam.DoFn):
    """`EACH` elements, spread over several of the seconds in which Beam empties its buffers by the clock."""

    def process(self, first: int) -> Iterator[bytes]:
        start = time.monotonic()
        for i in range(EACH):
            yield b"%d" % (first + i)
            if i % 100 == 0 and (ahead := start + SECONDS * i / EACH - time.monotonic()) > 0:
                time.sleep(ahead)


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("restless")
def test_a_bundle_of_some_seconds_loses_nothing_on_its_way_to_the_next() -> None:
    options = PipelineOptions(["--direct_num_workers=2"])
    with beam.Pipeline(runner=local_runner(), options=options) as root:
        firsts = root | beam.Create([0, EACH]) | "Before" >> beam.Reshuffle()
        spread = firsts | beam.ParDo(Emit()) | "After" >> beam.Reshuffle()
        assert_that(spread | beam.combiners.Count.Globally(), equal_to([2 * EACH]))
