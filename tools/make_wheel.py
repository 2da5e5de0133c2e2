"""Build a wheel from the source distribution in dist/, for this Python and the installed torch.

The wheel is written to dist/torch-X.Y/, because it works only with the minor version of torch that it was
compiled for. On Linux, auditwheel tags it with the supported systems. torch's libraries are not included:
they are loaded with torch.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUTSIDE = ("libtorch*", "libc10*", "libcudart*")
"""Libraries that come with torch, in auditwheel's patterns (also in pyproject.toml, for cibuildwheel)."""


def build(source: Path, folder: Path) -> Path:
    """Build a wheel from a source distribution with the installed packages; returns its path."""
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-build-isolation", "--no-deps", "--no-index"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(source)], check=True)
    (wheel,) = folder.glob("kcircuits-*.whl")
    return wheel


def main() -> None:
    """Build the newest source distribution of dist/."""
    sources = sorted((ROOT / "dist").glob("kcircuits-*.tar.gz"), key=lambda path: path.stat().st_mtime)
    if not sources:
        sys.exit("there is no source distribution in dist/: run `make sdist`")
    target = ROOT / "dist" / f"torch-{'.'.join(version('torch').split('.')[:2])}"
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        wheel = build(sources[-1], Path(folder))
        if sys.platform == "linux":
            excluded = [argument for name in OUTSIDE for argument in ("--exclude", name)]
            command = [sys.executable, "-m", "auditwheel", "repair", *excluded, "-w", str(target), str(wheel)]
            subprocess.run(command, check=True)
        else:
            wheel.replace(target / wheel.name)
    print("written:", *sorted(target.glob("*.whl")))


if __name__ == "__main__":
    main()
