"""The benchmark script: what is measured, how it is written, and every verb that needs no weights."""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from run_script import run_script


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images with masks and maps."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        for kind, shape in (("images", (30, 40, 3)), ("masks", (30, 40)), ("maps", (30, 40))):
            (tmp_path / kind).mkdir(exist_ok=True)
            pixels = rng.integers(0, 256, shape, dtype=np.uint8)
            if kind == "masks":
                pixels = np.where(pixels > 127, 255, 0).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / kind / f"{name}.png")
    return tmp_path


def sleeper(seconds: float) -> Callable[[], None]:
    return lambda: time.sleep(seconds)


def hoarder(megabytes: int) -> Callable[[], object]:
    return lambda: np.ones(megabytes * 2**20, np.uint8)


def failer() -> Callable[[], None]:
    raise ValueError("no such thing")


def reporter(wall: float) -> Callable[[], object]:
    from benchmarks.timing import Usage

    return lambda: Usage(wall, wall / 2, 7.0)


def test_sides_are_compared_with_the_first() -> None:
    from benchmarks.timing import Side, compare

    row = compare("work", [Side("slow", reporter, (0.2,)), Side("fast", reporter, (0.05,))], rounds=3, items=2)
    slow, fast = row["sides"]
    assert (row["work"], row["items"], row["rounds"]) == ("work", 2, 3)
    assert (slow["median_ms"], slow["min_ms"], slow["max_ms"], slow["cpu_ms"]) == (100, 100, 100, 50)
    assert (slow["ratio"], fast["ratio"], fast["peak_mb"]) == (1, 4, 7.0)


def test_rounds_end_when_their_time_is_used_up() -> None:
    from benchmarks.timing import Side, compare

    sides = [Side("asleep", sleeper, (0.05,))]
    assert compare("work", sides, rounds=50, budget=0)["rounds"] == 2
    assert compare("work", sides, rounds=3, budget=60)["rounds"] == 3


def test_a_cap_is_a_class_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import report

    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert report.processor_class() == "AVX2, by capping"
    assert "ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2" in report.describe_machine()


def installed(folder: Path, monkeypatch: pytest.MonkeyPatch, plugin: bytes) -> None:
    """Engines that consist of their question for AVX-512."""
    libraries = {
        "onnxruntime/capi/onnxruntime_pybind11_state.so": b"<\x48\xf7\xd0\xa8\xe0\x0f\x84abcd>",
        "openvino/libs/libopenvino_intel_cpu_plugin.so": plugin,
        "openvino/libs/libopenvino.so.1": b"<\x81\xe2\xe0\0\0\0\x0f\x85efgh>",
    }
    for name, content in libraries.items():
        library = folder / name
        library.parent.mkdir(parents=True, exist_ok=True)
        library.write_bytes(content)
        package = name.partition("/")[0]
        (folder / package / "__init__.py").touch()
        monkeypatch.delitem(sys.modules, package, raising=False)  # which other tests have imported
    monkeypatch.syspath_prepend(folder)


def test_copies_of_the_engines_find_no_avx512(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import report
    from benchmarks.capped_engines import cap_engines

    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    installed(tmp_path / "installed", monkeypatch, b"<\x81\xe2\xe0\0\0\0\x0f\x85ijkl><\xa8\xe0\x0f\x84>")
    assert report.is_cap_partial()
    cap_engines(tmp_path / "capped")
    runtime, plugin = (
        (tmp_path / "capped" / path).read_bytes()
        for path in ("onnxruntime/capi/onnxruntime_pybind11_state.so", "openvino/libs/libopenvino_intel_cpu_plugin.so")
    )
    assert runtime == b"<\x48\xf7\xd0\xa8\xe0\x66\x0f\x1f\x44\0\0>"  # a jump has become nothing, of its length
    assert plugin == b"<\x81\xe2\xe0\0\0\0\x90\xe9ijkl><\xa8\xe0\x0f\x84>"  # one of two answers the only one
    monkeypatch.syspath_prepend(tmp_path / "capped")
    assert not report.is_cap_partial()


def test_an_engine_that_asks_otherwise_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.capped_engines import cap_engines

    installed(tmp_path / "installed", monkeypatch, b"nothing")
    with pytest.raises(RuntimeError, match=r"libopenvino_intel_cpu_plugin\.so asks for AVX-512 in a form"):
        cap_engines(tmp_path / "capped")
    assert not (tmp_path / "capped").exists()
    (tmp_path / "installed/openvino/libs/libopenvino_intel_cpu_plugin.so").unlink()
    with pytest.raises(RuntimeError, match=r"openvino has no libs/libopenvino_intel_cpu_plugin\.so"):
        cap_engines(tmp_path / "capped")


def test_openvino_without_avx512_has_no_bfloat16(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("openvino")
    from benchmarks.capped_engines import cap_engines

    try:
        cap_engines(tmp_path / "capped")
    except RuntimeError as error:
        pytest.skip(str(error))  # another release than that of constraints.txt
    code = "import openvino; print(openvino.Core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES'))"
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "capped")}
    capabilities = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert "FP32" in capabilities.stdout, capabilities.stderr
    assert "BF16" not in capabilities.stdout


def test_time_and_memory_are_those_of_the_side() -> None:
    from benchmarks.timing import Side, compare

    asleep, big = compare("work", [Side("asleep", sleeper, (0.2,)), Side("big", hoarder, (300,))], rounds=1)["sides"]
    assert asleep["median_ms"] >= 200
    assert asleep["cpu_ms"] < asleep["median_ms"]
    assert big["peak_mb"] > asleep["peak_mb"] + 250


def test_a_side_that_fails_says_why() -> None:
    from benchmarks.timing import Side, compare

    with pytest.raises(RuntimeError, match="broken: ValueError: no such thing"):
        compare("failing", [Side("fine", sleeper, (0.0,)), Side("broken", failer)], rounds=1)


def cpuinfo(flags: str) -> str:
    return f"processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu {flags}\n"


def test_sections_are_updated_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import report

    monkeypatch.setattr(report, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(report, "CAPS", ())
    report.CPUINFO.write_text(cpuinfo("avx2 avx512f"))
    output = tmp_path / "docs" / "speed.md"
    side = {"name": "ours", "median_ms": 1234.5, "min_ms": 1200, "max_ms": 1300, "cpu_ms": 2000, "ratio": 1.25}
    row = {"work": "racing", "items": 1, "rounds": 4, "sides": [side | {"peak_mb": 321.4}]}
    report.save(output, "training", "Later", [row], ["A note."])
    report.save(output, "model", "Sooner", [row])
    report.save(output, "model", "Sooner", [row | {"work": "running"}])
    report.CPUINFO.write_text(cpuinfo("avx2"))  # another machine
    report.save(output, "model", "Sooner", [row | {"work": "walking"}])
    page = output.read_text()
    assert [line for line in page.splitlines() if line.startswith("#")] == [
        *("# Benchmarks", "## AVX-512", "### Sooner", "#### running", "### Later", "#### racing"),
        *("## AVX2", "### Sooner", "#### walking"),
    ]
    assert "| ours | 1234 | 1200-1300 | 2000 | 1.25 | 321 |" in page
    assert "A note." in page
    assert "Some CPU, avx2, avx512f, " in page
    classes = json.loads(output.with_suffix(".json").read_text())
    assert {name: set(sections) for name, sections in classes.items()} == {
        "AVX-512": {"model", "training"},
        "AVX2": {"model"},
    }
    assert classes["AVX-512"]["training"]["rows"] == [row]
    assert "torch" in classes["AVX2"]["model"]["versions"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (cpuinfo("avx2 avx512f avx512_bf16 amx_tile amx_bf16"), "AMX"),
        (cpuinfo("avx2 avx512f avx512_bf16"), "AVX-512 with bfloat16"),
        (cpuinfo("avx2 avx_vnni"), "AVX2"),
        ("processor\t: 0\nFeatures\t: fp asimd i8mm bf16\n", "Arm with bfloat16"),
        ("processor\t: 0\nFeatures\t: fp asimd\n", "Arm"),
        (cpuinfo("sse2"), platform.machine()),
    ],
)
def test_the_class_of_a_processor(
    content: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks import report

    monkeypatch.setattr(report, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(report, "CAPS", ())
    report.CPUINFO.write_text(content)
    assert report.processor_class() == expected


def test_the_page_is_drawn_from_its_data() -> None:
    from benchmarks import report

    page = Path(__file__).parents[2] / "docs" / "benchmarks.md"
    assert report.draw(json.loads(page.with_suffix(".json").read_text())) == page.read_text()


def test_metrics(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks import metrics
    from benchmarks.timing import Side

    try:
        metrics.import_pysodmetrics()
    except ImportError as error:
        pytest.skip(f"needs PySODMetrics: {error}")

    def compare(work: str, sides: list[Side], rounds: int, items: int) -> dict:
        """Run each side once, here."""
        assert all(side.build(*side.arguments)() for side in sides)
        return {"work": work, "items": items, "rounds": rounds, "sides": []}

    monkeypatch.setattr(metrics, "compare", compare)
    output = tmp_path / "new" / "page.md"
    options = ["--masks", folder / "masks", "--maps", folder / "maps", "--rounds", 1, "--output", output]
    assert not run_script("benchmark.py", "metrics", *options)
    rows = json.loads(output.with_suffix(".json").read_text())
    rows = next(iter(rows.values()))["metrics"]["rows"]
    assert [row["items"] for row in rows] == [2, 2, 2, 2]
    shown = capsys.readouterr().out
    assert all(row["work"] in shown for row in rows)


def test_folders_without_pairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_script("benchmark.py", "metrics", "--masks", tmp_path, "--maps", tmp_path)
    assert "namesake" in capsys.readouterr().err


def test_unknown_networks(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_script("benchmark.py", "model", "--network", "u3net")
    assert "u2netp, u2net, got u3net" in capsys.readouterr().err


def test_the_loaders(folder: Path) -> None:
    pytest.importorskip("skimage")
    from benchmarks.training import build_authors_loader, build_our_loader

    build_our_loader(str(folder))()
    assert build_authors_loader(str(folder))() == 4  # two images, two masks


def test_the_steps_of_training(monkeypatch: pytest.MonkeyPatch) -> None:
    from tiny_models import tiny_u2net_config

    from benchmarks import training

    monkeypatch.setattr(training, "CROP", 16)
    monkeypatch.setattr(training, "CONFIGS", {"tiny": tiny_u2net_config})
    monkeypatch.setattr(training, "keep_freed_memory", lambda: True)  # it would last for the other tests
    training.build_step("tiny", 2, 1, 1)()
    training.build_step("tiny", 2, 1, 1, fast=True, checkpointing=True)()


def test_a_command_starts_without_earlier_results(tmp_path: Path) -> None:
    from benchmarks.commands import build_command

    results = tmp_path / "results"
    (results / "old").mkdir(parents=True)
    code = f"import os; assert os.environ['ANIMAL'] == 'cat'; os.mkdir({str(results)!r}); bytearray(200 * 2**20)"
    usage = build_command([sys.executable, "-c", code], {"ANIMAL": "cat"}, results)()
    assert list(tmp_path.rglob("*")) == [results]
    assert usage.wall > 0
    assert 200 < usage.peak_mb < 300  # that of the command, not of this process
    with pytest.raises(RuntimeError, match=r"(?s)failed: .*AssertionError"):
        build_command([sys.executable, "-c", code], {"ANIMAL": "dog"}, results)()


def test_a_server_does_one_photo_at_a_time(tmp_path: Path) -> None:
    from benchmarks.commands import build_server

    code = "import sys, time\ndef work(source, target): time.sleep(0.1); open(target, 'a').write(source + sys.argv[1])"
    work = build_server(sys.executable, code, ["!"], {}, Path("photo"), tmp_path / "cut-out")
    usages = [work(), work()]
    assert (tmp_path / "cut-out").read_text() == "photo!photo!"
    assert all(usage.cpu < 0.1 <= usage.wall for usage in usages)


def test_photos_are_the_same_each_time(tmp_path: Path) -> None:
    pytest.importorskip("skimage")
    from benchmarks.photos import make_photos

    first, second = (make_photos(tmp_path / name, [0.1, 0.2]) for name in ("a", "b"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    with Image.open(first[1]) as photo:
        assert abs(photo.width * photo.height - 200_000) < 1000


def test_networks_on_a_gpu_are_timed_in_turns_and_compared_with_float64(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What can be seen of it without a GPU: the networks, the rows, the difference from float64."""
    from tiny_models import tiny_u2net_config

    from benchmarks import cuda, report
    from u2net_hf import U2NetForImageSegmentation, U2NetImageProcessorPil

    network = str(tmp_path / "tiny")
    U2NetForImageSegmentation(tiny_u2net_config()).save_pretrained(network)
    U2NetImageProcessorPil(size={"height": 32, "width": 48}).save_pretrained(network)
    for name, stand_in in (("synchronize", lambda: None), ("get_device_name", lambda: "Some GPU")):
        monkeypatch.setattr(cuda.torch.cuda, name, stand_in)
    monkeypatch.setattr(cuda, "_peak_mb", lambda call: 1.0)
    row = cuda.measure(network, 2, 3, cuda.prepare(network, 2, False, "cpu"))
    assert (row["work"], row["items"], row["rounds"]) == ("tiny, 32x48, batch 2", 2, 3)
    assert [side["name"] for side in row["sides"]] == [
        f"{way}, {dtype}" for dtype in cuda.DTYPES for way in ("plain", "fused")
    ]
    differences = cuda.compare_with_float64(network, "cpu")
    means = [float(line.split(" | ")[1]) for line in differences]
    assert 0 < means[0] < 1e-5 < means[2] < 0.1
    cuda.write(tmp_path / "page.md", [row], differences)
    page = (tmp_path / "page.md").read_text()
    assert "## CUDA: Some GPU\n\n### The network on a GPU" in page
    assert differences[0] in page
    assert [*json.loads((tmp_path / "page.json").read_text())] == ["CUDA: Some GPU"]
    assert report.processor_class() not in page
