"""Videos, whole and broken, and `u2net-hf remove` over them."""

import random
from collections.abc import Iterator
from pathlib import Path

from drawn_videos import drawn_frames, turn_in_header, write_video
from zoo_keeper import Zoo
from zoo_runs import command, names

FORMS: tuple[tuple[str, ...], ...] = ((), ("--mask", "--smoothing", "0.8"), ("--background", "white"))
RESULTS = ("webm", "mov", "mp4", "")  # of the last one a folder of frames is made
WARNINGS = (r"^Warning: ", r"^$")


def draw_videos(folder: Path) -> Iterator[Path]:
    """Write videos of every kind that are whole, then the same ones broken in every way."""
    folder.mkdir()
    frames = drawn_frames()
    whole = [
        write_video(folder / "h264.mp4", frames),
        write_video(folder / "with-sound.mp4", frames, audio="aac"),
        write_video(folder / "vp9.webm", frames, codec="libvpx-vp9"),
        write_video(folder / "transparent.mov", drawn_frames(channels=4), codec="qtrle", pixel_format="argb"),
        write_video(folder / "prores.mov", frames, codec="prores_ks", pixel_format="yuv422p10le"),
        write_video(folder / "ten-bits.mkv", frames, pixel_format="yuv420p10le"),
        write_video(folder / "one-frame.mp4", frames[:1]),
        write_video(folder / "2x2.mp4", drawn_frames(size=(2, 2))),
        write_video(folder / "1x1.avi", drawn_frames(size=(1, 1)), codec="ffv1", pixel_format="gray"),
        write_video(folder / "5x3.mkv", drawn_frames(size=(5, 3)), codec="ffv1", pixel_format="yuv444p"),
        write_video(folder / "long-and-thin.mkv", drawn_frames(2, (4000, 2)), codec="ffv1", pixel_format="gray"),
        write_video(folder / "uneven.mkv", frames, times=[0, 1, 512, 90_000, 90_001]),
        write_video(folder / "turned.mp4", frames),
    ]
    turn_in_header(whole[-1])
    yield from whole
    for path in whole[:6]:
        data, rng = path.read_bytes(), random.Random(path.name)
        scratched = bytearray(data)
        for place in rng.sample(range(len(data) // 8, len(data)), 40):
            scratched[place] = rng.randrange(256)
        for kind, broken in {
            "head": data[:40],
            "half": data[: len(data) // 2],
            "tail": data[:-20],
            "scratched": bytes(scratched),
            "behind-noise": rng.randbytes(64) + data,
            "doubled": data + data,
        }.items():
            (folder / f"{kind}-{path.name}").write_bytes(broken)
            yield folder / f"{kind}-{path.name}"
    for name, data in {
        "empty.mp4": b"",
        "noise.mov": random.Random(0).randbytes(5000),
        "text.webm": b"no video",
        "playlist.mp4": b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n",
        "list.mkv": b"ffconcat version 1.0\nfile /etc/passwd\n",
        "vp9-named.mp4": whole[2].read_bytes(),
        "with\x1b[31mcolor.mp4": whole[0].read_bytes(),
    }.items():
        (folder / name).write_bytes(data)
        yield folder / name


def remove_videos(zoo: Zoo) -> None:
    """Each video, to each kind of result: done or named, and nothing else written."""
    for number, path in enumerate(zoo.some([*draw_videos(zoo.folder / "videos")], start=3)):
        form, suffix = FORMS[number % len(FORMS)], RESULTS[number % len(RESULTS)]
        form = ("--background", "white") if suffix == "mp4" and not form else form
        result = zoo.desk / (f"result.{suffix}" if suffix else "frames")
        call = command("remove", "-m", zoo.model, "-o", result if suffix else f"{result}/", *form, "--", path)
        done = zoo.call("remove", f"{path.name} {' '.join(form)} {suffix}", call, noise=WARNINGS, limit=60)
        if (done.status == 0) != result.exists():
            zoo.blame(done, f"status {done.status}, and the result is {'there' if result.exists() else 'not there'}")
        if done.status == 1 and (len(done.error_lines) != 1 or not names(done, path)):
            zoo.blame(done, f"does not name the file once: {done.err[-300:]!r}")
        zoo.clear_desk(done, result)
