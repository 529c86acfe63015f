"""Copies of ONNX Runtime and OpenVINO that find no AVX-512, to measure processors without it on one that has it.

PyTorch has variables for that; these two ask the processor once, and have none. AVX-512 can be used where bits 5 to 7
of the register XCR0 are set (Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, section 15.2).
Compilers make two forms of that test, which in the copies has one answer only: what is not there is never used.
"""

from __future__ import annotations

import re
import shutil
from importlib.util import find_spec
from pathlib import Path

from u2net_hf.utils.files import new_folder

MARK = "no_avx512"  # a file in each copy
# Where the test stands, by package.
LIBRARIES = {
    "onnxruntime": ("capi/onnxruntime_pybind11_state*.so",),
    "openvino": ("libs/libopenvino_intel_cpu_plugin.so", "libs/libopenvino.so.*"),
}
TESTS = (
    # not rax; test al, 0xE0; je AVX-512: the jump goes.
    (re.compile(rb"(\x48\xF7\xD0\xA8\xE0)\x0F\x84.{4}", re.DOTALL), b"\\1\x66\x0f\x1f\x44\x00\x00"),
    # and edx, 0xE0; jne past AVX-512: it always jumps.
    (re.compile(rb"(\x81\xE2\xE0\x00\x00\x00)\x0F\x85(.{4})", re.DOTALL), b"\\1\x90\xe9\\2"),
)


def cap_engines(folder: Path) -> None:
    """Write the copies into `folder`, whole or not at all, for `PYTHONPATH`.

    Raises:
        OSError: If the folder holds files already.
        RuntimeError: If an engine is not installed, or asks the processor in another form than those known here.
    """
    with new_folder(folder) as made:
        for package, patterns in LIBRARIES.items():
            origin = _origin(package)
            if origin is None:
                raise RuntimeError(f"{package} is not installed")
            shutil.copytree(origin, made / package)
            for pattern in patterns:
                libraries = [*(made / package).glob(pattern)]
                if not libraries:
                    raise RuntimeError(f"{package} has no {pattern}, which asks for AVX-512")
                for library in libraries:
                    _cap(library)
            (made / package / MARK).touch()


def engines_are_capped() -> bool:
    """Whether this process would import the copies."""
    origins = [_origin(package) for package in LIBRARIES]
    return all(origin is not None and (origin / MARK).exists() for origin in origins)


def _origin(package: str) -> Path | None:
    """The folder from which a package would be imported, if it is installed."""
    spec = find_spec(package)
    return Path(spec.origin).parent if spec and spec.origin else None


def _cap(library: Path) -> None:
    found, content = 0, library.read_bytes()
    for test, answer in TESTS:
        content, count = test.subn(answer, content)
        found += count
    if not found:
        raise RuntimeError(f"{library.name} asks for AVX-512 in a form that is not known here")
    library.write_bytes(content)
