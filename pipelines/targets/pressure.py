"""How much one writer asks of a server at a time: less after an overload, slowly more again."""

from pipelines.targets.messages import OBJECTS

IN_FLIGHT = 4  # requests on the way while the next batch is made
LEAST = 8  # objects a request, at the worst
STEP = OBJECTS // 32  # more objects a request, for each that was taken whole


class Pressure:
    """The size of requests and how many are on the way; halved by each overload, as TCP does."""

    def __init__(self) -> None:
        """As much as a healthy server takes."""
        self.objects = OBJECTS

    @property
    def in_flight(self) -> int:
        """Requests on the way; one at a time while the server recovers."""
        return IN_FLIGHT if self.objects > OBJECTS // 2 else 1

    def overloaded(self) -> None:
        """The server did not take a request: half as much."""
        self.objects = max(LEAST, self.objects // 2)

    def took(self) -> None:
        """The server took a request."""
        self.objects = min(OBJECTS, self.objects + STEP)
