"""Networks that are recorded as CUDA graphs: when, and on a GPU that a recording gives what the network gives."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from tiny_models import tiny_u2net_config

from u2net_hf.engines import cuda_graph
from u2net_hf.engines.cuda_graph import Network, RecordedNetwork
from u2net_hf.models.u2net.modeling_u2net import U2NetForImageSegmentation

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


def test_a_shape_is_recorded_when_it_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, int]] = []

    def note(how: str) -> Network:
        def run(images: torch.Tensor) -> torch.Tensor:
            ran.append((how, len(images)))
            return images

        return run

    monkeypatch.setattr(cuda_graph, "record", lambda network, images: note("recorded"))
    network = RecordedNetwork(note("plain"))
    for batch in (4, 4, 4, 1, 4, 4):
        network(torch.zeros(batch, 3, 8, 8))
    how = ["plain", "recorded", "recorded", "plain", "plain", "recorded"]
    assert ran == [*zip(how, (4, 4, 4, 1, 4, 4), strict=True)]


@needs_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_recording_gives_what_the_network_gives(dtype: torch.dtype) -> None:
    fused = U2NetForImageSegmentation(tiny_u2net_config()).to("cuda").fuse(dtype)
    recorded = RecordedNetwork(fused)
    for batch in (2, 2, 2, 1, 1, 2):
        images = torch.randn(batch, 3, 32, 48, device="cuda")
        torch.testing.assert_close(recorded(images), fused(images), atol=1e-6, rtol=1e-6)


@needs_gpu
def test_threads_take_turns() -> None:
    fused = U2NetForImageSegmentation(tiny_u2net_config()).to("cuda").fuse()
    recorded = RecordedNetwork(fused)
    images = [torch.randn(1, 3, 32, 48, device="cuda") for _ in range(64)]
    expected = [fused(one) for one in images]
    with ThreadPoolExecutor(8) as pool:
        for result, alone in zip(pool.map(recorded, images), expected, strict=True):
            torch.testing.assert_close(result, alone, atol=1e-6, rtol=1e-6)
