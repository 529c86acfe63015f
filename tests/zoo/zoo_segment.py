"""`u2net-hf segment` over every picture and every model folder: done, or named in one line."""

from zoo_keeper import Zoo
from zoo_runs import command, names

FORMS: tuple[tuple[str, ...], ...] = ((), ("--overlay", "--table"), ("--probabilities",), ("--channel", "1"))
WARNINGS = (r"^Warning: ", r"^$")


def segment_each(zoo: Zoo) -> None:
    """Each picture on its own."""
    for number, path in enumerate(zoo.some([*zoo.good, *zoo.damaged], start=2)):
        form = FORMS[number % len(FORMS)]
        result = zoo.desk / "labels.tif"
        call = command("segment", "-m", zoo.unet, "-o", result, *form, "--", path)
        done = zoo.call("segment", f"{path.name} {' '.join(form)}", call, noise=WARNINGS, limit=60)
        if (done.status == 0) != result.exists():
            zoo.blame(done, f"status {done.status}, and the result is {'there' if result.exists() else 'not there'}")
        if done.status == 1 and (len(done.error_lines) != 1 or not names(done, path)):
            zoo.blame(done, f"does not name the file once: {done.err[-300:]!r}")
        for left in zoo.desk.iterdir():
            if left.suffix in (".tif", ".csv", ".png", ".jpg"):
                left.unlink()


def models_in_segment(zoo: Zoo) -> None:
    """A good picture through every model folder, most of which are none for this."""
    picture, result = zoo.folder / "good" / "png-L.png", zoo.desk / "labels.tif"
    for model in zoo.some([*zoo.models, zoo.unet], start=13):
        call = command("segment", "-m", model, "-o", result, "--", picture)
        done = zoo.call("segment -m", model.name, call, stdin=zoo.folder / "yes", limit=60, noise=WARNINGS)
        if (done.status == 0) != result.exists():
            zoo.blame(done, f"status {done.status}, and the result is {'there' if result.exists() else 'not there'}")
        if (zoo.desk / "CODE RAN").exists():
            zoo.blame(done, "runs the code of the folder")
            (zoo.desk / "CODE RAN").unlink()
        result.unlink(missing_ok=True)
