"""The image and audio towers, run by ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mmsearch.encoders import runtimes
from mmsearch.errors import MissingExtra
from mmsearch.types import FloatArray


class Session:
    """An ONNX graph with one input and one output on the CPU; several threads may call it at once.

    ``threads`` are ONNX Runtime's own, 0 for all cores. They spin while they wait: two cost 1.9 times the processor
    time of one, which decoding needs beside them. So the default is the calling thread; callers share batches out.
    """

    def __init__(self, path: str, threads: int = 1) -> None:
        try:
            self._session = runtimes.session(path, threads)
        except ImportError:
            raise MissingExtra("reading photos and sounds with mini", "cpu") from None
        self._input = self._session.get_inputs()[0].name

    def __call__(self, batch: npt.NDArray[Any]) -> FloatArray:
        output: FloatArray = self._session.run(None, {self._input: np.ascontiguousarray(batch)})[0]
        return output
