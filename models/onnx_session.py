"""ONNX graphs that run on the CPU, with an explicit number of threads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models.base import EncodeError

_QUIET = 3  # errors only: failures are raised, and other messages would only fill a service's log


class Session:
    """A loaded graph. Several threads may call `run` at once; it does not hold Python's lock while it runs."""

    def __init__(self, path: Path, *, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = _QUIET
        # A thread that spins while it waits for work takes processor time from the event loop.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), sess_options=options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the runtime's errors have no common base but Exception
            raise EncodeError(f"{path.name} cannot be loaded: {error}") from error
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._inputs = tuple(entry.name for entry in self._session.get_inputs())

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs that `run` needs."""
        return self._inputs

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the outputs that `run` returns."""
        return tuple(self._outputs)

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """Run the graph. Returns output name -> array. Raises EncodeError when the runtime refuses or fails."""
        try:
            results = self._session.run(self._outputs, dict(feeds))
        except Exception as error:  # as above
            raise EncodeError(f"the encoder failed: {error}") from error
        return dict(zip(self._outputs, results, strict=True))
