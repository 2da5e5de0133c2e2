"""`kcircuits sizes`: compare methods over circuit sizes."""

from __future__ import annotations

import json
from dataclasses import replace

from kcircuits.cli.method_options import ComparedMethods
from kcircuits.cli.options import FolderOutput, ModelOptions, Running, TaskChoice
from kcircuits.runtime.optional import need
from kcircuits.sizes.options import SizeOptions
from kcircuits.task import PromptChoice


def command(
    model: ModelOptions,
    prompts: PromptChoice,
    task: TaskChoice,
    methods: ComparedMethods,
    sizes: SizeOptions,
    run: Running,
    output: FolderOutput,
) -> None:
    """Compare the faithfulness of circuits that several methods find, over many circuit sizes.

    Writes sizes.json and sizes.svg into DIR.
    """
    from kcircuits.cli.setup import input_settings, prepare
    from kcircuits.cli.sizes_table import print_table
    from kcircuits.display.progress import show_progress
    from kcircuits.files.writing import check_output_folder, write_together
    from kcircuits.sizes import check_methods, compare_sizes
    from kcircuits.sizes.size_plot import draw_sizes

    need("matplotlib", "pictures")
    asked = prepare(model, prompts, task, run, verbose=output.shows_progress)
    check_methods(methods.compared, asked.model.spec, asked.task)
    folder = check_output_folder(output.out)

    with show_progress(output.shows_progress) as progress:
        comparison = compare_sizes(
            asked.model, asked.task, methods.compared, options=sizes, memory=run.memory, progress=progress
        )
    settings = methods.options | input_settings(model, prompts, reference_prompts=task.reference_prompts)
    comparison = replace(comparison, settings=comparison.settings | settings)
    written = [folder / "sizes.json", folder / "sizes.svg"]
    with write_together():
        comparison.save(written[0])
        draw_sizes(comparison, written[1])
    if output.as_json:
        print(json.dumps(comparison.to_json(), indent=2, allow_nan=False))
    elif not output.quiet:
        print_table(comparison)
        print(f"written: {', '.join(map(str, written))}")
