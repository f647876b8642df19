"""The compiled `notes.proto`, made when a test first asks for it."""

import tempfile
from functools import cache
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

import google.api
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message_factory import GetMessageClass
from grpc_tools import protoc

HERE = Path(__file__).parent


def compiled(source: Path) -> FileDescriptor:
    """The descriptor of one proto file."""
    google_protos = Path(next(iter(google.api.__path__))).parents[1]
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder, "image.binpb")
        folders = (source.parent, google_protos, files("grpc_tools") / "_proto", HERE.parents[1] / "protos")
        includes = [f"-I{each}" for each in folders]
        if protoc.main(["protoc", *includes, f"--descriptor_set_out={image}", source.name]) != 0:
            raise ValueError(f"{source.name} does not compile")
        (file,) = descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes()).file
    # A file enters the pool behind those it imports.
    for imported in file.dependency:
        import_module(imported.removesuffix(".proto").replace("/", ".") + "_pb2")
    pool: Any = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return pool.FindFileByName(source.name)


@cache
def notes() -> FileDescriptor:
    """The file of the note service."""
    return compiled(HERE / "notes.proto")


def note_class() -> Any:
    """The class of a note."""
    return GetMessageClass(notes().message_types_by_name["Note"])
