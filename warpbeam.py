"""The public face of Warpbeam: load a job, get an encoder, put the stages into a pipeline of your own."""

from encoders import encoder_of as encoder
from jobs.job_file import load_job
from pipelines.load import Plan, build
from pipelines.rag import WeaviateVectorWriterConfig
from pipelines.rows.options import WeaviateOptions
from pipelines.rows.vectorize import VectorizeObjects, VectorizeResult
from pipelines.rows.write import WriteResult, WriteToWeaviate
from pipelines.write import WriteObjects
from schemas.errors import JobError, RowError, WarpbeamError, WorldError

__all__ = [
    "JobError",
    "Plan",
    "RowError",
    "VectorizeObjects",
    "VectorizeResult",
    "WarpbeamError",
    "WeaviateOptions",
    "WeaviateVectorWriterConfig",
    "WorldError",
    "WriteObjects",
    "WriteResult",
    "WriteToWeaviate",
    "build",
    "encoder",
    "load_job",
]
