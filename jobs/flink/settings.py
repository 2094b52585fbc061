"""What the local Flink cluster is told: Flink's own configuration, and the flags that Java 17 needs."""

import json
from collections.abc import Mapping
from pathlib import Path

# Flink's own list for Java 17, from its distribution's default configuration
EXPORTS = ("java.base/sun.net.util", "java.management/sun.management", "java.rmi/sun.rmi.registry", "java.security.jgss/sun.security.krb5")
COMPILER = tuple(f"jdk.compiler/com.sun.tools.javac.{part}" for part in ("api", "file", "parser", "tree", "util"))
OPENS = "lang net io nio lang.reflect text time util util.concurrent util.concurrent.atomic util.concurrent.locks".split()
JAVA_17 = [
    *(f"--add-exports={name}=ALL-UNNAMED" for name in (*EXPORTS, *COMPILER)),
    *(f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in ("sun.nio.ch", *(f"java.{part}" for part in OPENS))),
]
HEAP = {"jobmanager": "256m", "taskmanager": "640m", "jobserver": "384m"}  # -Xmx of each process
SLOTS = 2  # of a TaskManager
# An SDK worker, with its model, is kept for the next stage; when it dies, Beam forgets it only after this time without
# a stage. So a restart that comes later finds a new worker, and one that comes sooner the dead one.
WORKER_CACHE_MS = 3000
RESTART_DELAY_S = 5

MEMORY = {  # a TaskManager that is started by plain `java` needs every one of these
    "cpu.cores": "1.0",
    "memory.task.heap.size": "512m",
    "memory.task.off-heap.size": "0m",
    "memory.managed.size": "128m",
    "memory.network.min": "192m",  # 64m is too little for parallelism 4
    "memory.network.max": "192m",
    "memory.framework.heap.size": "128m",
    "memory.framework.off-heap.size": "128m",
    "memory.jvm-metaspace.size": "256m",
    "memory.jvm-overhead.min": "64m",
    "memory.jvm-overhead.max": "64m",
    "host": "127.0.0.1",
    "bind-host": "127.0.0.1",
}


def flink_config(rpc_port: int, rest_port: int, folder: str, extra: Mapping[str, str]) -> str:
    """The text of `config.yaml`; `extra` adds to it or replaces."""
    settings = {
        "jobmanager.rpc.address": "127.0.0.1",
        "jobmanager.rpc.port": str(rpc_port),
        "jobmanager.bind-host": "127.0.0.1",
        "rest.address": "127.0.0.1",
        "rest.bind-address": "127.0.0.1",
        "rest.port": str(rest_port),
        "io.tmp.dirs": f"{folder}/tmp",
        "restart-strategy.type": "fixed-delay",
        "restart-strategy.fixed-delay.attempts": "3",
        "restart-strategy.fixed-delay.delay": f"{RESTART_DELAY_S} s",
        "heartbeat.interval": "2000",
        "heartbeat.timeout": "10000",
        "slot.request.timeout": "30000",
        "classloader.resolve-order": "parent-first",
        "cluster.evenly-spread-out-slots": "true",  # else two subtasks share one TaskManager, and one model, while another is idle
        **{f"taskmanager.{key}": value for key, value in MEMORY.items()},
        **extra,
    }
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in settings.items())


MAIN = {
    "jobmanager": "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint",
    "taskmanager": "org.apache.flink.runtime.taskexecutor.TaskManagerRunner",
    "jobserver": "org.apache.beam.runners.flink.FlinkJobServerDriver",
}
LOG_LEVELS = {"org.slf4j.simpleLogger.showDateTime": "true", "org.slf4j.simpleLogger.dateTimeFormat": "HH:mm:ss.SSS"}


def java(kind: str, jar: Path, *arguments: str) -> list[str]:
    """The command line of one of the cluster's processes."""
    logs = [f"-D{key}={value}" for key, value in LOG_LEVELS.items()]
    return ["java", f"-Xmx{HEAP[kind]}", "-XX:+UseSerialGC", *JAVA_17, *logs, "-cp", str(jar), MAIN[kind], *arguments]
