"""What is imported, and when: the command and the lean engines without transformers, the Auto classes all the same.

Each test looks at the modules of a process of its own; none measures time.
"""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fresh_process import run_fresh
from huggingface_hub import constants
from PIL import Image
from tiny_models import tiny_u2net_config

import u2net_hf
from u2net_hf import U2NetConfig, U2NetForImageSegmentation, U2NetImageProcessorPil, load_engine

HEAVY = {
    *("torch", "transformers", "onnxruntime", "openvino", "onnx", "scipy", "sympy", "datasets", "evaluate"),
    *("accelerate", "gradio", "matplotlib", "pandas", "skimage", "pymatting", "torch._dynamo", "numpy", "PIL"),
}
COMMAND = """
import sys
from u2net_hf.cli import app as cli
sys.argv[0] = "u2net-hf"
try:
    cli.main()
except SystemExit as end:
    assert not end.code, end.code
"""
REPORT = "\nimport json, sys\nprint()\nprint(json.dumps(sorted(sys.modules)))"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home without any cache, so that nothing depends on what this machine has."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("net")
    U2NetForImageSegmentation(tiny_u2net_config()).save_pretrained(folder)
    U2NetImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(path)
    return path


def check(done: subprocess.CompletedProcess[str]) -> str:
    """The standard output of a program, which must have succeeded and complained of nothing."""
    assert done.returncode == 0, done.stderr
    for word in ("Error", "ERROR", "not supported", "Traceback", "trust_remote_code"):
        assert word not in done.stderr, done.stderr
    return done.stdout


def run(program: str, *arguments: object) -> str:
    return check(run_fresh(program, *arguments))


def heavy(program: str, *arguments: object, home: Path | None = None) -> set[str]:
    """The heavy modules that a program has imported at its end, in an interpreter of its own."""
    command = [sys.executable, "-W", "error::FutureWarning", "-c", program + REPORT, *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | ({"HF_HOME": str(home)} if home else {})
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    return HEAVY & set(json.loads(check(done).splitlines()[-1]))


class TestWhatIsImported:
    def test_the_package(self) -> None:
        assert heavy("import u2net_hf") == set()

    def test_help(self) -> None:
        for arguments in (["--help"], ["remove", "--help"], ["push", "--help"]):
            assert heavy(COMMAND, *arguments) == set(), arguments

    def test_the_published_names(self) -> None:
        assert heavy("import u2net_hf; u2net_hf.PUBLISHED") == set()

    def test_remove_with_torch(self, net: Path, photo: Path, tmp_path: Path, home: Path) -> None:
        arguments = ("remove", photo, "-m", net, "-o", tmp_path / "cut-out.png")
        assert heavy(COMMAND, *arguments, home=home) == {"torch", "numpy", "PIL"}
        assert (tmp_path / "cut-out.png").is_file()

    def test_remove_a_folder_with_torch(self, net: Path, photo: Path, tmp_path: Path, home: Path) -> None:
        arguments = ("remove", photo.parent, "-m", net, "-o", tmp_path / "out")
        assert heavy(COMMAND, *arguments, home=home) == {"torch", "numpy", "PIL"}

    @pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
    def test_remove_with_an_exported_network(
        self, engine: str, net: Path, photo: Path, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pytest.importorskip(engine)
        pytest.importorskip("onnxruntime")  # which checks the export
        arguments = ("remove", photo, "-m", net, "--overwrite", "--engine", engine, "-o", tmp_path / "cut-out.png")
        monkeypatch.setattr(constants, "HF_HOME", str(home))
        load_engine(net, engine)  # exports the network
        assert heavy(COMMAND, *arguments, home=home) - {"pandas"} == {engine, "numpy", "PIL"}


def test_wrong_arguments_are_answered_before_torch_is_imported(photo: Path) -> None:
    program = COMMAND.replace("assert not end.code, end.code", "assert end.code == 1")
    command = [sys.executable, "-c", program + REPORT, "remove", str(photo), "--threshold", "2"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "threshold must lie between 0 and 1" in done.stderr
    assert not {"torch", "transformers"} & set(json.loads(done.stdout.splitlines()[-1]))


LOOK = """
import sys
folder = sys.argv[1]
def look(*wanted):
    from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForImageSegmentation
    from transformers import AutoModelForSemanticSegmentation, pipeline
    autos = (AutoConfig, AutoImageProcessor, AutoModel, AutoModelForImageSegmentation)
    for auto in (*autos, AutoModelForSemanticSegmentation):
        assert type(auto.from_pretrained(folder)).__module__.startswith("u2net_hf."), auto
    for task in ("image-segmentation", "background-removal"):
        assert type(pipeline(task, model=folder).model).__module__.startswith("u2net_hf."), task
"""
FIRST = {
    "package first": "import u2net_hf\nfrom transformers import AutoModelForImageSegmentation",
    "transformers first": "from transformers import AutoModel, AutoImageProcessor, pipeline\nimport u2net_hf",
    "in between": "import transformers\ntransformers.AutoConfig\nimport u2net_hf\ntransformers.AutoModel",
    "modeling_layers": "import u2net_hf\nimport transformers.modeling_layers",
    "star": "from u2net_hf import *\nU2NetConfig",
    "deep import": "from u2net_hf.models.u2net.pipeline_u2net import BackgroundRemovalPipeline",
}
ALONE = {
    "AutoConfig": "from transformers import AutoConfig as auto",
    "AutoImageProcessor": "from transformers import AutoImageProcessor as auto",
    "image-segmentation": "from transformers import pipeline\nsee(pipeline('image-segmentation', folder).model)",
    "background-removal": "from transformers import pipeline\nsee(pipeline('background-removal', folder).model)",
}


class TestAutoClasses:
    @pytest.mark.parametrize("first", FIRST)
    @pytest.mark.slow
    def test_whatever_is_imported_first(self, first: str, net: Path) -> None:
        run(f"{FIRST[first]}\n{LOOK}\nlook()", net)

    @pytest.mark.parametrize("alone", ALONE)
    @pytest.mark.slow
    def test_each_alone(self, alone: str, net: Path) -> None:
        """Nothing else of transformers has been asked for before."""
        see = "def see(it): assert type(it).__module__.startswith('u2net_hf.')\n"
        ask = "\nsee(auto.from_pretrained(folder))" if "auto" in ALONE[alone] else ""
        run(f"import sys, u2net_hf\nfolder = sys.argv[1]\n{see}{ALONE[alone]}{ask}", net)

    def test_from_config(self) -> None:
        run(
            "from u2net_hf import UNetConfig\n"
            "from transformers import AutoModel\n"
            "AutoModel.from_config(UNetConfig(hidden_sizes=[2, 3]))\n"
        )

    def test_the_command_leaves_no_gap(self, net: Path, photo: Path, tmp_path: Path) -> None:
        """After the lean way the Auto classes work in the same process."""
        arguments = (net, "remove", photo, "-m", net, "-o", tmp_path / "cut-out.png")
        lean = COMMAND.replace("import sys\n", "import sys\nfolder = sys.argv.pop(1)\n", 1)
        run(f"{lean}\n{LOOK.replace('folder = sys.argv[1]', '')}\nlook()", *arguments)

    @pytest.mark.slow
    def test_many_threads_import_at_once(self, net: Path) -> None:
        program = """
import sys, threading, u2net_hf
import transformers  # whose own first import is not made for threads: it replaces its module
folder, failures = sys.argv[1], []
def ask(statement):
    try:
        barrier.wait()
        names = {}
        exec(statement, names)
        if "auto" in names:
            assert type(names["auto"].from_pretrained(folder)).__module__.startswith("u2net_hf.")
    except BaseException as error:
        failures.append(f"{statement}: {error!r}")
statements = [
    "from transformers import AutoModel as auto",
    "import transformers.modeling_layers",
    "from transformers import AutoImageProcessor as auto",
    "from u2net_hf import U2NetForImageSegmentation as auto",
    "from transformers import AutoConfig as auto",
    "from transformers import pipeline",
]
barrier = threading.Barrier(len(statements))
threads = [threading.Thread(target=ask, args=[statement]) for statement in statements]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert not failures, failures
"""
        run(f"{program}\n{LOOK}\nlook()", net)

    def test_others_networks_of_the_same_names_are_left_alone(self) -> None:
        """A configuration of somebody else may be called like ours: models are registered for the class itself."""
        run(
            "import u2net_hf\n"
            "from transformers import AutoConfig, AutoModel, PreTrainedConfig\n"
            "class UNetConfig(PreTrainedConfig):\n"
            "    model_type = 'their-unet'\n"
            "for _ in range(2):\n"
            "    assert UNetConfig not in AutoModel._model_mapping\n"
            "    u2net_hf.U2NetForImageSegmentation\n"
        )

    def test_nothing_of_the_hook_remains_on_the_modules(self) -> None:
        run(
            "import u2net_hf, inspect\n"
            "import transformers.models.auto.configuration_auto as table\n"
            "assert 'u2net_hf' not in type(table.__spec__.loader).__module__\n"
            "assert table.__loader__ is table.__spec__.loader\n"
            "assert 'class AutoConfig' in inspect.getsource(table)\n"
        )


class TestPublicNames:
    def test_all_of_them_are_there(self) -> None:
        assert set(u2net_hf.__all__) <= set(dir(u2net_hf))
        for name in u2net_hf.__all__:
            assert getattr(u2net_hf, name) is not None
        with pytest.raises(AttributeError, match="no attribute 'U3Net'"):
            u2net_hf.U3Net  # noqa: B018

    def test_what_tools_read_is_what_there_is(self) -> None:
        """The imports for type checkers name the same modules as the table."""
        source = Path(u2net_hf.__file__).read_text()
        for name, module in u2net_hf._MODULES.items():
            assert f"    from .{module} import {name} as {name}\n" in source

    def test_classes_and_configurations_can_be_pickled(self) -> None:
        config = U2NetConfig.small()
        assert pickle.loads(pickle.dumps(U2NetConfig)) is U2NetConfig
        data = pickle.dumps((config, U2NetForImageSegmentation))
        program = (
            f"import pickle\nconfig, model = pickle.loads({data!r})\nprint(type(config).__name__, model.__name__)"
        )
        assert run(program).split() == ["U2NetConfig", "U2NetForImageSegmentation"]
