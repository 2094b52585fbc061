# Warpbeam with its models: `warpbeam serve` in the place of Weaviate's inference containers, or any other command.
#
#   docker build -t warpbeam .
#   docker run --rm -p 8081:8081 -v ./job:/job:ro -v warpbeam-models:/models warpbeam
#
# torch comes with its CUDA libraries, 5 GB. For the CPU alone give pip the index that has torch's CPU wheels:
#   docker build -t warpbeam --build-arg PIP_OPTIONS="--extra-index-url <that index>" .
FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    HF_HOME=/models

RUN useradd --uid 10001 --create-home warpbeam \
    && install --directory --owner=warpbeam /models /job

WORKDIR /opt/warpbeam
COPY pyproject.toml setup.py constraints.txt README.md warpbeam.py ./
COPY schemas schemas
COPY encoders encoders
COPY pipelines pipelines
COPY jobs jobs
ARG PIP_OPTIONS=""
RUN python -m pip install ${PIP_OPTIONS} --constraint constraints.txt ".[models,serve]"

# A job, and beside it what it names: data, models, a class definition. Models from a hub are kept in /models.
USER warpbeam
WORKDIR /job
VOLUME /models
EXPOSE 8081

# Not healthy before the models are loaded; the first start may have to fetch them.
HEALTHCHECK --interval=5s --timeout=3s --start-period=10m --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8081/.well-known/ready', timeout=2)"]

ENTRYPOINT ["warpbeam"]
CMD ["serve", "job.yaml", "--host", "0.0.0.0"]
