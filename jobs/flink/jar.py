"""The one jar that holds Flink, Beam's Flink runner and its job server: built once by Maven, and kept in the cache."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from schemas.errors import WorldError

POM = Path(__file__).parent / "pom.xml"
BUILD_TIMEOUT_S = 900.0  # a minute or two; a slow network may need more


def missing_programs() -> list[str]:
    """What has to be installed before a cluster can start: of `java` and, where the jar is not built yet, `mvn`."""
    wanted = ["java"] if jar_path().exists() else ["java", "mvn"]
    return [name for name in wanted if shutil.which(name) is None]


def jar_path() -> Path:
    """Where the jar lies or will lie; another pom gives another name."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "warpbeam" / "flink" / f"flink-{hashlib.sha256(POM.read_bytes()).hexdigest()[:12]}.jar"


def find_jar() -> Path:
    """The jar, built if it is missing. Raises WorldError where Java or Maven is missing, or the build fails."""
    path = jar_path()
    if missing := missing_programs():
        raise WorldError(f"a Flink cluster needs {' and '.join(missing)}: install a JDK of version 17, and Maven")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            _build(Path(folder)).replace(path)
    return path


def _build(folder: Path) -> Path:
    shutil.copy(POM, folder / "pom.xml")
    command = ["mvn", "--batch-mode", "--quiet", "--file", str(folder / "pom.xml"), "package"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise WorldError(f"Maven did not build the Flink jar in {BUILD_TIMEOUT_S:.0f} s") from None
    if done.returncode:
        raise WorldError(f"Maven could not build the Flink jar:\n{(done.stdout + done.stderr)[-2000:]}")
    return folder / "target" / "flink.jar"
