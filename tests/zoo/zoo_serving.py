"""Every picture to the server, which answers with a picture or with a reason, and goes on."""

import json

from served import serving
from zoo_keeper import Zoo
from zoo_runs import is_picture

QUERIES = ("", "mask=true", "background=red&format=jpg", "matting=true&format=webp", "crop=5")


def pictures_in_serve(zoo: Zoo) -> None:
    """Each picture in the body of a request; a server is started for each, whose memory is measured."""
    from u2net_hf.engines import load_engine

    engines = {"tiny": load_engine(str(zoo.model), device="cpu", dtype="float32")}
    for number, path in enumerate(zoo.some([*zoo.good, *zoo.damaged], start=7)):
        query = QUERIES[number % len(QUERIES)]

        def ask(body: bytes = path.read_bytes(), query: str = query) -> None:
            with serving(engines) as served:
                answer = served.post(body, query)
                assert served.health()
            if answer.status != 200:
                assert answer.status in (413, 415, 422), answer
                raise SystemExit(f"Error: {json.loads(answer.data)['detail']!a}")
            (zoo.desk / "answer").write_bytes(answer.data)

        done = zoo.call("serve", f"{path.name} {query}", ask, limit=60, free=True)
        if done.status == 0 and not is_picture(zoo.desk / "answer"):
            zoo.blame(done, "answers with what is no picture")
        if path in zoo.good and done.status and not zoo.may_refuse(path, query):
            zoo.blame(done, f"refuses a good picture: {done.err[-300:]!r}")
        (zoo.desk / "answer").unlink(missing_ok=True)
