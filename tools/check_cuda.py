"""Compile the CUDA half with warnings as errors, print what each kernel uses, and fail on register spills.

The kernels are compiled for all architectures, the launchers (which include torch) for one. This needs nvcc
and torch's headers, but no GPU; a CPU build of torch is enough.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ARCHITECTURES = ("sm_80", "sm_90", "sm_90a")
FLAGS = [
    "-std=c++20", "-O3", f"-I{ROOT / 'csrc'}",
    "-Werror", "all-warnings", "-Xcompiler", "-Wall,-Wextra,-Werror", "-Xptxas", "-v",
]  # fmt: skip
# A CPU build of torch lacks the header that says how its CUDA half was built.
CUDA_MACROS = "#pragma once\n#define C10_CUDA_BUILD_SHARED_LIBS\n"


@dataclass(frozen=True)
class Kernel:
    """ptxas's report about a kernel; sizes in bytes, shared memory per block and stack per thread."""

    architecture: str
    name: str
    registers: int
    shared: int
    stack: int
    spills: int


def parse(report: str) -> list[Kernel]:
    """Kernels in the output of `nvcc -Xptxas -v`.

    >>> report = '''ptxas info    : Compiling entry function '_Z3mixv' for 'sm_90'
    ... ptxas info    : Function properties for _Z3mixv
    ...     16 bytes stack frame, 4 bytes spill stores, 8 bytes spill loads
    ... ptxas info    : Used 40 registers, used 1 barriers, 512 bytes smem'''
    >>> parse(report)
    [Kernel(architecture='sm_90', name='_Z3mixv', registers=40, shared=512, stack=16, spills=12)]
    """
    kernels = []
    for block in report.split("Compiling entry function ")[1:]:
        header = re.match(r"'(\S+)' for '(\w+)'", block)
        memory = re.search(
            r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", block
        )
        registers = re.search(r"Used (\d+) registers", block)
        if header is None or memory is None or registers is None:
            raise ValueError(f"unexpected report of ptxas: {block[:200]}")
        shared = re.search(r"(\d+) bytes smem", block)
        stack, stores, loads = (int(number) for number in memory.groups())
        size = int(shared[1]) if shared else 0
        kernels.append(Kernel(header[2], header[1], int(registers[1]), size, stack, stores + loads))
    return kernels


def demangle(names: Sequence[str]) -> dict[str, str]:
    """Readable names, without namespaces and arguments."""
    if shutil.which("c++filt") is None:
        return {name: name for name in names}
    text = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True)
    short = [
        re.sub(r"kcircuits::cuda::|^void |\(\w+\)|\([^()]*\)$", "", line) for line in text.stdout.splitlines()
    ]
    return dict(zip(names, short, strict=True))


def compile_source(source: Path, architecture: str, folder: Path, *flags: str) -> str:
    """Compile one file and return ptxas's report."""
    target = folder / f"{source.stem}-{architecture}.o"
    command = ["nvcc", f"-arch={architecture}", *FLAGS, *flags, "-c", str(source), "-o", str(target)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        raise RuntimeError(
            f"{source.name} does not compile for {architecture}\n{result.stdout}{result.stderr}"
        )
    print(f"compiled {source.name} for {architecture}", flush=True)
    return result.stdout + result.stderr


def torch_flags(folder: Path) -> list[str]:
    """Flags for torch's headers. The header that a CPU build lacks is written into `folder`."""
    import torch
    from torch.utils.cpp_extension import include_paths

    flags = [f"-isystem={path}" for path in include_paths()]
    macros = Path("c10/cuda/impl/cuda_cmake_macros.h")
    if not (Path(torch.__file__).parent / "include" / macros).exists():
        (folder / macros).parent.mkdir(parents=True)
        (folder / macros).write_text(CUDA_MACROS)
        flags.append(f"-isystem={folder}")
    return flags


def print_table(kernels: Sequence[Kernel]) -> None:
    """One line per kernel and architecture, sorted by name."""
    names = demangle([kernel.name for kernel in kernels])
    print(f"{'arch':7} {'registers':>9} {'shared':>7} {'stack':>6} {'spills':>6}  kernel")
    for kernel in sorted(kernels, key=lambda kernel: (names[kernel.name], kernel.architecture)):
        sizes = f"{kernel.registers:9} {kernel.shared:7} {kernel.stack:6} {kernel.spills:6}"
        print(f"{kernel.architecture:7} {sizes}  {names[kernel.name]}")


def main() -> int:
    """Run from the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=min(os.cpu_count() or 1, 2), help="compilers at a time")
    parser.add_argument("--kernels-only", action="store_true", help="leave the launchers out")
    options = parser.parse_args()
    if shutil.which("nvcc") is None:
        print("nvcc is not on PATH", file=sys.stderr)
        return 2
    launchers = [] if options.kernels_only else sorted((ROOT / "csrc" / "cuda").glob("*.cu"))
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(options.jobs) as pool:
        folder = Path(name)
        torch = torch_flags(folder) if launchers else []
        jobs = [pool.submit(compile_source, path, "sm_90", folder, *torch) for path in launchers]
        kernels = ROOT / "tools" / "cuda_kernels.cu"
        reports = [pool.submit(compile_source, kernels, arch, folder) for arch in ARCHITECTURES]
        try:
            for job in jobs:
                job.result()
            found = [kernel for report in reports for kernel in parse(report.result())]
        except RuntimeError as error:
            pool.shutdown(cancel_futures=True)
            print(error, file=sys.stderr)
            return 1
    print_table(found)
    spilled = [kernel for kernel in found if kernel.spills]
    print(f"{len(found)} kernels, {len(spilled)} with spills")
    return 1 if spilled or not found else 0


if __name__ == "__main__":
    sys.exit(main())
