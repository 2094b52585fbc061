# Warpbeam's images, one target each. docs/containers.md says what each is for, and how large.
#
#   docker build --target cpu   -t warpbeam-worker .       Beam's worker for Flink and Dataflow
#   docker build --target gpu   -t warpbeam-worker:gpu .   the same for NVIDIA GPUs
#   docker build --target serve -t warpbeam-serve .        `warpbeam serve` in the place of Weaviate's inference containers
#   docker build --target template --build-arg LAUNCHER_IMAGE=<Google's launcher image> -t warpbeam-template .
#
# torch from the usual index brings its CUDA libraries. For the CPU alone name the index that has the CPU wheels:
#   --build-arg CPU_PIP_OPTIONS="--extra-index-url <that index>"
# No weights are in an image, unless a folder of models is named: --build-arg MODELS=<a folder below this one>
ARG PYTHON_IMAGE=python:3.11-slim
ARG BEAM_IMAGE=apache/beam_python3.11_sdk:2.77.0
ARG LAUNCHER_IMAGE=scratch

FROM ${BEAM_IMAGE} AS beam

FROM ${PYTHON_IMAGE} AS python
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    HF_HOME=/models/hub \
    WARPBEAM_MODELS=/models/fetched
RUN useradd --uid 10001 --create-home warpbeam \
    && install --directory --owner=warpbeam /models /models/hub /models/fetched /job
# torch wants a newer setuptools than some bases have. Below /install it would be copied over the old one, and mix with it.
RUN python -m pip install "setuptools>=77.0.3"

# What is installed below /install is copied into the images; pip's leftovers stay here, and tests and libraries for linkers.
FROM python AS code
WORKDIR /opt/warpbeam
COPY pyproject.toml setup.py constraints.txt README.md warpbeam.py ./
COPY schemas schemas
COPY encoders encoders
COPY pipelines pipelines
COPY jobs jobs

FROM code AS cpu-packages
ARG CPU_PIP_OPTIONS=""
ARG WORKER_EXTRAS="models,dataflow"
RUN python -m pip install --prefix=/install ${CPU_PIP_OPTIONS} --constraint constraints.txt ".[${WORKER_EXTRAS}]" \
    && find /install \( -type d -name tests -o -name '*.a' \) -prune -exec rm -r {} +

FROM code AS gpu-packages
ARG GPU_PIP_OPTIONS=""
ARG WORKER_EXTRAS="models,dataflow"
RUN python -m pip install --prefix=/install ${GPU_PIP_OPTIONS} --constraint constraints.txt ".[${WORKER_EXTRAS}]" \
    && find /install \( -type d -name tests -o -name '*.a' \) -prune -exec rm -r {} +

FROM code AS serve-packages
ARG CPU_PIP_OPTIONS=""
ARG SERVE_EXTRAS="models,serve"
RUN python -m pip install --prefix=/install ${CPU_PIP_OPTIONS} --constraint constraints.txt ".[${SERVE_EXTRAS}]" \
    && find /install \( -type d -name tests -o -name '*.a' \) -prune -exec rm -r {} +

FROM python AS cpu
ARG MODELS=deploy/models
ARG WORKER_USER=warpbeam
COPY --from=beam /opt/apache/beam /opt/apache/beam
COPY --from=cpu-packages /install /usr/local
COPY ${MODELS} /models/
# Beam's start program would make a virtual environment for each worker, without need: nothing is staged.
ENV RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1
USER ${WORKER_USER}
WORKDIR /tmp
ENTRYPOINT ["/opt/apache/beam/boot"]

FROM python AS gpu
ARG MODELS=deploy/models
ARG WORKER_USER=warpbeam
COPY --from=beam /opt/apache/beam /opt/apache/beam
COPY --from=gpu-packages /install /usr/local
COPY ${MODELS} /models/
# Where the driver lies: Kubernetes' runtime puts it into the usual places, Dataflow below /usr/local/nvidia.
ENV RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    PATH=/usr/local/nvidia/bin:${PATH} \
    LD_LIBRARY_PATH=/usr/local/nvidia/lib64:/usr/local/nvidia/lib
USER ${WORKER_USER}
WORKDIR /tmp
ENTRYPOINT ["/opt/apache/beam/boot"]

# The launcher of Dataflow's Flex Template: it starts on a small machine, submits the job and ends.
FROM ${LAUNCHER_IMAGE} AS launcher

FROM cpu AS template
COPY --from=launcher /opt/google/dataflow/python_template_launcher /opt/google/dataflow/python_template_launcher
COPY deploy/dataflow/launch.py /opt/warpbeam/launch.py
ENV FLEX_TEMPLATE_PYTHON_PY_FILE=/opt/warpbeam/launch.py
ENTRYPOINT ["/opt/google/dataflow/python_template_launcher"]

# `serve` and every other command of Warpbeam: a job, and beside it what it names, in /job.
FROM python AS serve
ARG MODELS=deploy/models
COPY --from=serve-packages /install /usr/local
COPY ${MODELS} /models/
USER warpbeam
WORKDIR /job
EXPOSE 8081
# Not healthy before the models are loaded; the first start may have to fetch them.
HEALTHCHECK --interval=5s --timeout=3s --start-period=10m --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8081/.well-known/ready', timeout=2)"]
ENTRYPOINT ["warpbeam"]
CMD ["serve", "job.yaml", "--host", "0.0.0.0"]
