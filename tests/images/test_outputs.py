"""Where results go: every way to name inputs and an output, and every way to lose a file refused."""

import os
from pathlib import Path
from typing import Any

import pytest

from u2net_hf.images.files import ImageError
from u2net_hf.images.outputs import plan_outputs


class TestPlanOutputs:
    @pytest.fixture(autouse=True)
    def _in_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        for name in ("photo.jpg", "other.JPG", "in/a.jpg", "in/sub/b.v2.png", "in/notes.txt", "in2/a.jpg"):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    @staticmethod
    def plan(*arguments: Any, **options: Any) -> dict[str, str]:
        jobs = plan_outputs(*arguments, **options)
        return {str(job.source): str(job.destination) for job in jobs}

    def test_beside(self) -> None:
        expected = {"photo.jpg": "photo.cut-out.png", "in/a.jpg": "in/a.cut-out.png"}
        assert self.plan(["photo.jpg", Path("in/a.jpg")]) == expected
        assert self.plan(["photo.jpg"], suffix=".webp", tag="mask") == {"photo.jpg": "photo.mask.webp"}

    def test_earlier_results_beside_are_left_out(self) -> None:
        assert self.plan(["photo.cut-out.png", "photo.jpg"]) == {"photo.jpg": "photo.cut-out.png"}

    def test_a_link_to_itself_is_one_files_fault(self) -> None:
        Path("in/loop.png").symlink_to("loop.png")
        assert self.plan(["in"], "out")["in/loop.png"] == "out/loop.png"

    def test_one_file(self) -> None:
        assert self.plan(["photo.jpg"], "new/out.webp") == {"photo.jpg": "new/out.webp"}

    @pytest.mark.parametrize("output", ["out", "out/", "out.v2/", "in"])
    def test_one_file_into_a_folder(self, output: str) -> None:
        assert self.plan(["photo.jpg"], output) == {"photo.jpg": f"{output.rstrip('/')}/photo.png"}

    def test_one_file_into_a_folder_that_looks_like_a_file(self) -> None:
        Path("old.png").mkdir()
        assert self.plan(["photo.jpg"], "old.png") == {"photo.jpg": "old.png/photo.png"}

    def test_many_files(self) -> None:
        expected = {"photo.jpg": "out/photo.jpg", "other.JPG": "out/other.jpg"}
        assert self.plan(["photo.jpg", "other.JPG"], "out", suffix=".jpg") == expected

    @pytest.mark.parametrize("source", ["in", "in/", "./in", "in2/../in"])
    def test_folder_keeps_its_structure(self, source: str) -> None:
        jobs = plan_outputs([source], "out")
        assert [str(job.destination) for job in jobs] == ["out/a.png", "out/sub/b.v2.png"]
        assert all(job.source.exists() for job in jobs)

    def test_working_folder(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir("in")
        assert self.plan(["."], "../out") == {"a.jpg": "../out/a.png", "sub/b.v2.png": "../out/sub/b.v2.png"}

    def test_several_folders_keep_their_names(self, monkeypatch: pytest.MonkeyPatch) -> None:
        expected = {"in/a.jpg": "out/in/a.png", "in/sub/b.v2.png": "out/in/sub/b.v2.png", "in2/a.jpg": "out/in2/a.png"}
        assert self.plan(["in", "in2"], "out") == expected
        monkeypatch.chdir("in")
        assert self.plan([".", "../in2"], "../out") == {
            "a.jpg": "../out/in/a.png",
            "sub/b.v2.png": "../out/in/sub/b.v2.png",
            "../in2/a.jpg": "../out/in2/a.png",
        }

    def test_output_within_input_is_not_read_again(self) -> None:
        plan = self.plan(["in"], "in/out")
        for destination in plan.values():
            Path(destination).parent.mkdir(parents=True, exist_ok=True)
            Path(destination).touch()
        assert len(plan) == 2
        assert self.plan(["in"], "in/out") == plan

    def test_the_same_input_twice_is_one_job(self) -> None:
        assert len(plan_outputs(["photo.jpg", "photo.jpg", "in/../photo.jpg"], "out")) == 1

    def test_images_of_one_stem_keep_their_suffixes(self) -> None:
        for name in ("in/a.webp", "in/sub/a.tif"):
            Path(name).touch()
        assert self.plan(["in"], "out") == {
            "in/a.jpg": "out/a.jpg.png",
            "in/a.webp": "out/a.webp.png",
            "in/sub/a.tif": "out/sub/a.png",
            "in/sub/b.v2.png": "out/sub/b.v2.png",
        }
        assert self.plan(["in/a.jpg", "in/a.webp", "photo.jpg"]) == {
            "in/a.jpg": "in/a.jpg.cut-out.png",
            "in/a.webp": "in/a.webp.cut-out.png",
            "photo.jpg": "photo.cut-out.png",
        }

    def test_images_of_one_name_keep_their_folders(self) -> None:
        expected = {"in/a.jpg": "out/in/a.jpg.png", "in2/a.jpg": "out/in2/a.jpg.png", "photo.jpg": "out/photo.png"}
        assert self.plan(["in/a.jpg", "photo.jpg", "in2/a.jpg"], "out") == expected

    def test_earlier_results_of_one_stem_are_left_out(self) -> None:
        inputs = ["in/a.jpg", "in/a.webp"]
        results = list(self.plan(inputs).values())
        assert self.plan(inputs + results) == self.plan(inputs)

    @pytest.mark.parametrize(
        ("inputs", "output", "message"),
        [
            ([], None, "no input"),
            (["in"], None, "in: is a folder; name a folder"),
            (["in"], "in", "in: results would mix"),
            (["in"], "in/sub/..", "results would mix"),
            (["in"], "out.png", r"out\.png: names a file"),
            (["photo.jpg", "other.JPG"], "out.webp", "names a file"),
            (["photo.jpg", "in"], "in2/a.jpg", "names a file"),
            (["photo.jpg"], "out.bmp", r"out\.bmp: cannot be written.*\.webp"),
            (["photo.jpg"], "photo.jpg", r"photo\.jpg: the result of photo\.jpg would replace an input"),
            (["photo.jpg"], "./in/../photo.jpg", "would replace an input"),
            (
                ["a.jpg", "a.webp", "a.jpg.tif", "b.jpg", "b.webp", "b.jpg.tif"],
                "out",
                r"a\.jpg and a\.jpg\.tif to out/a\.jpg\.png; b\.jpg and b\.jpg\.tif to out/b\.jpg\.png; rename some",
            ),
        ],
    )
    def test_refused(self, inputs: list[str], output: str | None, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            plan_outputs(inputs, output)

    def test_in_place_through_a_link(self) -> None:
        os.symlink("in", "link")
        with pytest.raises(ValueError, match="would replace an input"):
            plan_outputs(["in/a.jpg"], "link/a.jpg")

    def test_bad_suffix_and_empty_folder(self) -> None:
        with pytest.raises(ImageError, match=r"\.svg: cannot be written"):
            plan_outputs(["photo.jpg"], suffix=".svg")
        Path("empty").mkdir()
        with pytest.raises(ValueError, match="empty: no images"):
            plan_outputs(["empty"], "out")
