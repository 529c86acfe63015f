"""The beginning of a program that cannot import the package, as in a process of somebody who has not installed it."""

NO_PACKAGE = """import sys

class NoPackage:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "u2net_hf":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NoPackage())
"""
