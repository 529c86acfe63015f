"""A network on a CUDA GPU as one recording of its kernels, which Python takes longer to launch than the GPU to run."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

import torch

Network = Callable[[torch.Tensor], torch.Tensor]


class RecordedNetwork:
    """A network that is recorded as a CUDA graph when images of one shape come for the second time in a row.

    The first run as they come, so that a single photo waits for no recording. One recording is kept at a time, since
    it holds the memory of its activations. Threads take turns.

    Args:
        network: The network, on a CUDA GPU; only kernels may come between its images and what it returns.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._run = network
        self._shape: torch.Size | None = None
        self._lock = Lock()

    @torch.inference_mode()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """What the network returns for images on its GPU."""
        with self._lock:
            if images.shape != self._shape:
                self._shape, self._run = images.shape, self._network
            elif self._run is self._network:
                self._run = record(self._network, images)
            return self._run(images)


def record(network: Network, images: torch.Tensor) -> Network:
    """Record what the network does with images of this shape and type: a function that does it again with others."""
    with torch.cuda.device(images.device):
        seen, graph, stream = images.clone(), torch.cuda.CUDAGraph(), torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):  # cuDNN chooses its algorithms, which cannot be recorded
                network(seen)
        torch.cuda.current_stream().wait_stream(stream)
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # other threads may use the GPU meanwhile
            result = network(seen)

    def replay(images: torch.Tensor) -> torch.Tensor:
        seen.copy_(images)
        graph.replay()
        return result.clone()

    return replay
