"""A Secret's directory, laid out and swapped as the kubelet does it."""

import os
import pathlib


class Volume:
    """The files are links into `..data`, which is a link to one generation of them."""

    def __init__(self, path, files):
        self.path = pathlib.Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        self.path.chmod(0o755)
        self.generation = 0
        self.swap(files)
        for name in files:
            (self.path / name).symlink_to(f"..data/{name}")

    def swap(self, files):
        """The next generation, whole; the one before goes away after it."""
        before = self.path / f"..{self.generation:04}"
        self.generation += 1
        after = self.path / f"..{self.generation:04}"
        after.mkdir(mode=0o755)
        for name, content in files.items():
            (after / name).write_text(content)
            (after / name).chmod(0o444)
        (self.path / "..data_tmp").symlink_to(after.name)
        os.rename(self.path / "..data_tmp", self.path / "..data")
        if before.exists():
            for file in before.iterdir():
                file.unlink()
            before.rmdir()
