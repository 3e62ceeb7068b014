"""The optional native extension; everything else about the package is in pyproject.toml."""

import hashlib
from pathlib import Path

from pybind11.setup_helpers import Pybind11Extension, build_ext
from setuptools import setup

SOURCES = sorted(str(path) for path in Path("data_pipeline/native/src").glob("*.cpp"))
HEADERS = sorted(str(path) for path in Path("data_pipeline/native/src").glob("*.hpp"))
# An extension built from other sources than those beside it is not used (data_pipeline/native/__init__.py).
DIGEST = hashlib.sha256(b"".join(Path(path).read_bytes() for path in SOURCES + HEADERS)).hexdigest()[:16]

setup(
    ext_modules=[
        Pybind11Extension(
            "data_pipeline.native._kernels",
            SOURCES,
            depends=HEADERS,
            define_macros=[("LLMILL_SOURCES", f'"{DIGEST}"')],
            cxx_std=17,
            # Fused multiply-adds round once where others round twice: a page would depend on the processor.
            extra_compile_args=["-O3", "-ffp-contract=off"],
            # Without a C++ compiler the package still installs, and works with the plain Python references.
            optional=True,
        )
    ],
    cmdclass={"build_ext": build_ext},
)
