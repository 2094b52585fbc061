"""What a run would do with objects, told from their fingerprints."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipelines.unchanged import Prints


@dataclass
class Staleness:
    """Objects that were compared: `new` are not there, `untracked` do not say what made them, the others are the same or stale."""

    objects: int = 0
    new: int = 0
    untracked: int = 0
    unchanged: int = 0
    changed: int = 0  # stale, since their properties changed in the source
    remade: int = 0  # stale, since a vector is made in another way now
    vectors: Counter[str] = field(default_factory=Counter)  # of stale objects, that would be made again

    @property
    def stale(self) -> int:
        """Objects that a run would write again."""
        return self.changed + self.remade

    @property
    def written(self) -> int:
        """Objects that a run would write."""
        return self.objects - self.unchanged

    def add(self, names: Sequence[str], prints: Prints, stored: Mapping[int, Sequence[bytes]]) -> tuple[list[int], list[int]]:
        """Count a batch: `prints` of the object and its vectors `names`, what is `stored` by position. (stale, untracked) positions."""
        stale, untracked = [], []
        for i, own in enumerate(prints):
            known = stored.get(i)
            if known:
                if not self._same(names, own, known):
                    stale.append(i)
            elif known is None:
                self.new += 1
            else:
                untracked.append(i)
        self.untracked += len(untracked)
        self.objects += len(prints)
        return stale, untracked

    def _same(self, names: Sequence[str], own: Sequence[bytes], known: Sequence[bytes]) -> bool:
        if set(own) == set(known):
            self.unchanged += 1
            return True
        self.changed += own[0] not in known
        self.remade += own[0] in known
        self.vectors.update(n for n, p in zip(names, own[1:], strict=True) if p not in known)
        return False


def stale_line(found: Staleness, encoded: Sequence[str]) -> str:
    """One line of a plan; `encoded` are the vectors that have a model."""
    made = {n: found.new + found.untracked + found.vectors[n] for n in encoded}
    again = ", ".join(f"{count:,} {name}" for name, count in made.items() if count) or "none"
    parts = {"new": found.new, "changed": found.changed, "made in another way": found.remade, "of unknown origin": found.untracked}
    why = ", ".join(f"{n:,} {words}" for words, n in parts.items() if n)
    return (
        f"of {found.objects:,} objects {found.unchanged:,} are there unchanged, {found.written:,} would be written{f' ({why})' if why else ''}; "
        f"vectors to encode: {again}"
    )
