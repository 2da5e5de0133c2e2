"""Write the tables of README.md and docs/, between their markers, from benchmarks/results."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import method_tables
import study_tables
from machine import RESULTS

ROOT = Path(__file__).resolve().parents[1]
END = "<!-- end of table -->"
GIB = 2**30
Row = tuple[str, ...]


def table(head: Row, rows: list[Row]) -> str:
    """A table in Markdown."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def comparison_table(sources: dict[str, Callable[[Any], list[Row]]]) -> str:
    """All rows of those benchmarks whose results exist."""
    rows = [row for name, rows_of in sources.items() if (found := read(name)) for row in rows_of(found)]
    return table(("what", "compared with", "result"), rows)


def tools_table() -> str:
    """All results of bench_peers.py."""
    head = ("model, task", "tool", "time", "relative", "peak memory", "tests", "edges kept")
    rows = []
    for case in (read("peers.json") or {"cases": []})["cases"]:
        title = f"{case['model']}: {case['task']}, {prompts_of(case['prompts'])} of {case['tokens']} tokens"
        for place, row in enumerate(case["rows"]):
            how = (
                f"{row['measured_tests']} tests scaled up"
                if "measured_tests" in row
                else f"{row['runs']} run" + ("s" if row["runs"] > 1 else "")
            )
            rows.append(
                (
                    "" if place else title,
                    f"{row['tool']}, {row['method']}" + (f" ({row['note']})" if row["note"] else ""),
                    f"{duration(row['seconds'])} ({how})",
                    ratio(row["seconds"] / case["rows"][0]["seconds"]),
                    f"{row['peak_memory_mib']:,} MiB",
                    f"{row['tests']:,}" if "tests" in row else "",
                    f"{row['kept']:,}" if "kept" in row else "",
                )
            )
    return table(head, rows)


def growth() -> str:
    """Fitted exponents of bench_growth.py, with those of the last step alone in brackets."""
    methods = ("EAP", "EAP-IG, 5 steps", "16 masked runs", "ACDC", "ACDC: evaluations", "ACDC: time of each")
    head = ("what grows", "from, to", *methods)
    rows = []
    for name, found in (read("growth.json") or {"axes": {}})["axes"].items():
        fits = {method: result["exponents"] for method, result in found.items()}
        sizes = [point["size"] for point in found["acdc"]["points"]]

        def fit(method: str, fits: dict[str, Any] = fits) -> str:
            fitted = fits.get(method)
            return f"{fitted['seconds']:.2f} ({fitted['last_step']:.2f})" if fitted else ""

        acdc = fits["acdc"]
        rows.append(
            (
                name,
                f"{sizes[0]:g}, {sizes[-1]:g}",
                *(fit(method) for method in ("eap", "eap-ig-inputs", "masked runs", "acdc")),
                f"{acdc['evaluations']:.2f}",
                f"{acdc['seconds_per_evaluation']:.2f}",
            )
        )
    return table(head, rows)


def circuits() -> str:
    """Random circuits, and the readout of all nodes, compared with one plain forward pass."""
    found = read("circuits.json")
    if not found:
        return ""
    head = ("what", "time", "one plain forward pass", "ratio")
    rows: list[Row] = [
        (
            f"{row['circuits']:,} random circuits of {row['edges']:,} edges",
            f"{duration(row['seconds'])}, {duration(row['seconds_per_circuit'])} each",
            duration(row["plain_forward_seconds"]),
            f"each takes 1/{row['ratio']:.0f} (target: 1/{row['target']} at most)",
        )
        for row in found["random_circuits"]
    ]
    row = found["node_readout"]
    what = f"logit and rank of the answer and top 10 of {row['nodes']} nodes at {row['positions']} positions"
    rows += [
        (
            f"{what}: `vocab_readout`, one call",
            f"{duration(row['seconds'])}, {duration(row['seconds_per_node'])} a node",
            duration(row["plain_forward_seconds"]),
            f"{ratio(row['forward_passes'])}",
        ),
        (
            f"{what}: a loop over nodes",
            f"{duration(row['loop_seconds'])}, {duration(row['loop_seconds'] / row['nodes'])} a node",
            duration(row["plain_forward_seconds"]),
            f"{ratio(row['loop_seconds'] / row['plain_forward_seconds'])}",
        ),
    ]
    return table(head, rows)


def heads() -> str:
    """All nodes at all positions of many prompts, compared with a loop over nodes."""
    row = read("heads.json")
    if not row:
        return ""
    head = ("what", "time", "memory in addition to the senders", "ratio")
    what = f"{row['nodes']} nodes at {row['positions']} positions of {row['prompts']} prompts"
    scaled = f"{duration(row['loop_seconds'])} ({row['looped_nodes']} nodes scaled up)"
    return table(
        head,
        [
            (f"{what}: `read_nodes`", duration(row["seconds"]), f"{row['peak_mib']:,} MiB", ""),
            (
                f"{what}: a loop over nodes, matmul and sort",
                scaled,
                f"{row['loop_peak_mib']:,} MiB",
                f"{ratio(row['ratio'])} (target: {row['target']}× at least)",
            ),
        ],
    )


def editing() -> str:
    """Edits in one batch, compared with one by one."""
    row = read("editing.json")
    if not row:
        return ""
    seconds = row["seconds_batched"], row["seconds_one_by_one"]
    return table(
        ("what", "time", "ratio", "largest difference of an edit"),
        [
            (f"{row['edits']} edits, values optimised together", duration(seconds[0]), "", ""),
            (
                f"{row['edits']} edits, one by one",
                duration(seconds[1]),
                ratio(seconds[1] / seconds[0]),
                f"{row['largest_relative_difference']:.0e}, relative",
            ),
        ],
    )


EDIT_MEASURES = (
    "efficacy",
    "paraphrase",
    "specificity",
    "score",
    "magnitude",
    "reliability",
    "generalisation",
    "locality",
    "fluency",
)


def editors() -> str:
    """Measures of editing methods on single facts (study_editing.py)."""
    study = read("editing_study.json")
    if not study:
        return ""
    choices = ", ".join(
        f"{each['method'].rpartition(' ')[2]}: {each['score']:.2f}" for each in study["choices"]
    )
    edits, chosen_on = (study[key][0]["edits"] for key in ("rows", "choices"))
    what = (
        f"{edits} facts, each edited alone. ROME's scores on {chosen_on} other facts, by layer: {choices}; "
        f"layer {study['chosen_layer']} was chosen."
    )
    rows: list[Row] = [
        (each["method"], str(each["failed"]), *(f"{each[name]:.2f}" for name in EDIT_MEASURES))
        for each in study["rows"]
    ]
    return f"{what}\n\n{table(('method', 'failed', *EDIT_MEASURES), rows)}"


def guided() -> str:
    """Places to edit that a fact's circuit suggests, compared with a fixed one (study_guided.py)."""
    study = read("guided.json")
    if not study:
        return ""
    compared = ("efficacy", "paraphrase", "specificity")

    def cell(each: dict[str, Any], name: str) -> str:
        if "differences" not in each:
            return f"{each[name]:.2f}"
        low, _, high = each["differences"][name]
        return f"{each[name]:.2f} ({low:+.2f} to {high:+.2f})"

    rows: list[Row] = [
        (each["method"], *(cell(each, name) for name in compared), f"{each['score']:.2f}")
        for each in study["rows"]
    ]
    return table(("where", *compared, "score"), rows)


def neighbours() -> str:
    """Properties of a neighbour correlated with the effect of an edit on it (study_neighbours.py)."""
    study = read("neighbours.json")
    if not study:
        return ""
    names = {
        "key_cosine": "cosine of the keys",
        "key_overlap": "share of the edit's value, kᵀC⁻¹k′ / kᵀC⁻¹k",
        "circuit_overlap": f"overlap of the {study['top_n']} strongest edges",
        "margin": "margin of the answer before",
    }
    found = {(each["name"], each["outcome"]): each for each in study["predictors"]}

    def correlation(each: dict[str, Any]) -> str:
        low, high = each["interval"]
        return f"{each['correlation']:+.2f} ({low:+.2f} to {high:+.2f})"

    head = (
        "property of a neighbour",
        "loss of log p",
        "size of the change",
        "broken",
        "median if broken",
        "if kept",
    )
    rows: list[Row] = [
        (
            title,
            *(correlation(found[name, outcome]) for outcome in ("damage", "size", "broken")),
            *(f"{study['medians'][name][kind]:.2f}" for kind in ("broken", "kept")),
        )
        for name, title in names.items()
    ]
    what = (
        f"{study['neighbours']} neighbours of {study['edits']} ROME edits at layer {study['layer']}, "
        f"{study['broken']} of {study['said']} broken. log p of the answer changes by "
        f"{study['mean_change']:+.3f} nats on average; "
        f"the median absolute change is {study['median_size']:.3f}:"
    )
    return f"{what}\n\n{table(head, rows)}"


def profile() -> str:
    """Time of two searches by op, and of products by their number of rows."""
    head = ("op", "time", "GFLOP", "GFLOP/s", "of GEMM speed", "GB", "GB/s")
    found = read("profile.json")
    if not found:
        return ""
    texts = []
    for case in found["cases"]:
        title = f"{case['case']}: {duration(case['seconds'])}, {case['tests']:,} tests"
        rows: list[Row] = [profile_row(row["op"], row, case) for row in case["ops"]]
        rows += [
            profile_row(f"products of {row['rows']} rows", row, case) for row in case["products_by_rows"]
        ]
        shares = f"{case['products_share']:.0%}; {case['fast_products_share']:.0%}"
        rows.append(("all products; products at 70% of GEMM speed or more", shares, "", "", "", "", ""))
        texts.append(f"{title}; GEMM speed {case['gemm_gflops']:.0f} GFLOP/s:\n\n{table(head, rows)}")
    alone: list[Row] = [
        (
            str(row["rows"]),
            f"{row['from_memory_gflops']:.0f} GFLOP/s",
            f"{2 * row['from_memory_gflops'] / row['rows']:.1f} GB/s",
            f"{row['from_cache_gflops']:.0f} GFLOP/s",
        )
        for row in found["alone"]
    ]
    titles = (
        "rows",
        "weights from memory (first MLP matrices in turn)",
        "bandwidth",
        "weights from cache (one matrix)",
    )
    memory = (
        f"The same products in isolation; a plain sum reads "
        f"{found['memory_gb_per_second']:.0f} GB/s from memory:"
    )
    return "\n\n".join([*texts, f"{memory}\n\n{table(titles, alone)}"])


def profile_row(name: str, row: dict[str, Any], case: dict[str, Any]) -> Row:
    cells = (name, f"{duration(row['seconds'])}, {row['seconds'] / case['seconds']:.1%}")
    if not row["gflop"]:
        return (*cells, "", "", "", "", "")
    speed = row["gflop"] / row["seconds"]
    return (
        *cells,
        f"{row['gflop']:,.1f}",
        f"{speed:.1f}",
        f"{speed / case['gemm_gflops']:.0%}",
        f"{row['gb']:,.1f}",
        f"{row['gb'] / row['seconds']:.1f}",
    )


def read(name: str) -> Any:
    """The results of a benchmark; None if it has not run."""
    path = RESULTS / name
    if not path.exists():
        return None
    return json.loads(path.read_text()) if path.suffix == ".json" else path.read_text()


def searches(results: dict[str, Any]) -> list[Row]:
    """Exact ACDC against a plain forward pass per test."""
    return [
        (
            f"exact ACDC, {prompts_of(row['prompts'])}, {row['ablation']} ablation, τ = {row['threshold']}: "
            f"{row['tests']:,} tests, {row['edges']} edges kept",
            "one plain Hugging Face forward per test (no hooks): "
            f"{duration(row['one_forward_per_test_seconds'])}",
            f"**{duration(row['search_seconds'])}, {row['ratio']:.0f}×**; "
            f"peak memory {row['peak_memory_gib']:.1f} GiB",
        )
        for row in results["rows"]
    ]


def readme_table() -> str:
    """The main results of bench_peers.py and bench_scaling.py, for the README: short cells, six rows."""
    rows: list[Row] = []
    for case in (read("peers.json") or {"cases": []})["cases"]:
        if case["model"].startswith("small"):
            continue  # only in docs/performance.md
        rows += [
            (
                f"{task_name(ours['method'], case['task'])}, {prompts_of(case['prompts'])}",
                f"**{duration(ours['seconds'])}**",
                compare_tool(case, ours, "plain Hugging Face"),
                compare_tool(case, ours, "TransformerLens hooks") or compare_tool(case, ours, "auto-circuit"),
            )
            for ours in case["rows"]
            if ours["tool"] == "kcircuits"
        ]
    if scaling := read("scaling.json"):
        large = scaling["large"]
        size = f"{large['parameters'] / 1e9:.1f} billion parameters"
        rows.append((f"EAP-IG, {size}, 8 prompts", f"**{duration(large['eap_ig_seconds'])}**", "", ""))
    return table(("task", "kcircuits", "plain Hugging Face", "other tool"), rows)


def task_name(method: str, task: str) -> str:
    """A short name of a task: the method, and the metric if it is not nll."""
    if "ACDC" not in method:
        return method.partition(",")[0]
    return "ACDC, kl" if ", kl," in task else "ACDC"


def compare_tool(case: dict[str, Any], ours: dict[str, Any], tool: str) -> str:
    """Another tool's time and its multiple of ours, where it did the same; ≈ if it is scaled up."""
    name = "" if tool == "plain Hugging Face" else f"{tool.partition(' ')[0]}: "
    for row in case["rows"]:
        is_same = not name or "ACDC" in row["method"] or row["method"] == ours["method"]
        if row["tool"] == tool and is_same:
            about = "≈ " if "measured_tests" in row else ""
            return f"{name}{about}{duration(row['seconds'])}, {ratio(row['seconds'] / ours['seconds'])}"
    return ""


def attributions(results: dict[str, Any]) -> list[Row]:
    """EAP and EAP-IG against a forward and a backward pass."""
    titles = {"eap": "EAP, the scores of all edges", "eap-ig-inputs": "EAP-IG (inputs, 5 steps)"}
    return [
        (
            f"{titles[row['method']]}, {results['model']}, {results['task']}",
            f"one plain Hugging Face forward and `loss.backward()`: {duration(row['plain_seconds'])}; "
            f"backward to the embeddings alone: {duration(row['plain_seconds_to_embeddings'])}",
            f"**{duration(row['seconds'])}, {row['ratio']:.2g}×**; {row['ratio_to_embeddings']:.3g}×; "
            f"{row['extra_memory_mb']} MB above the loaded model",
        )
        for row in results["rows"]
        if row["method"] in titles
    ]


def large_model(results: dict[str, Any]) -> list[Row]:
    """Time and memory for a model with a billion parameters."""
    large = results["large"]
    peak = max(large["eap_ig_peak"], large["acdc_peak"]) / GIB
    what = (
        f"a model with {large['parameters'] / 1e9:.1f} billion parameters (random, TinyLlama's shape, "
        f"float32): EAP-IG, 5 steps, 8 pairs; {large['acdc_tests']:,} ACDC tests"
    )
    times = f"**{duration(large['eap_ig_seconds'])}; {duration(large['acdc_seconds'])}**"
    return [(what, "", f"{times}; peak {peak:.1f} GiB, weights included")]


def sweeps(results: dict[str, Any]) -> list[Row]:
    """Several processes compared with one."""
    actors = "" if results["ray_ratio"] is None else f"; Ray: {results['ray_ratio']:.2f}×"
    return [
        (
            f"a sweep of {results['jobs']} ACDC jobs, SmolLM2-135M, by {results['workers']} processes of one "
            f"thread ({results['machine']['simd']})",
            f"one process, one thread: {duration(results['one_seconds'])}",
            f"**{duration(results['several_seconds'])}, {results['ratio']:.2f}×**{actors}",
        )
    ]


def startup(results: dict[str, Any]) -> list[Row]:
    """Startup time of commands."""
    seconds = results["seconds"]
    return [
        (
            "`kcircuits --help`; `kcircuits discover` on a cached model, without the search",
            "",
            f"{duration(seconds['help'])}; {duration(seconds['discover_beside_search'])}",
        )
    ]


def sweeps_table() -> str:
    """Results of soak.py and bench_sweep.py."""
    rows: list[Row] = []
    if soak := read("soak.json"):
        share = f"{soak['overhead_share']:.1%} of a job of EAP on SmolLM2-135M"
        rows += [
            (
                f"{soak['jobs']} jobs on small models, {soak['workers']} processes",
                f"{duration(soak['seconds'])}, {soak['jobs_per_minute']:,.0f} jobs a minute",
            ),
            (
                f"the same, with {soak['killed_workers']} processes killed and the sweep killed "
                f"{soak['killed_sweeps']} times",
                f"{duration(soak['disturbed_seconds'])}; a byte-identical summary, and no finished job "
                "restarted",
            ),
            ("overhead of the sweep per job", f"{duration(soak['overhead_seconds'])}, {share}"),
        ]
    if found := read("sweep.json"):
        jobs = f"{found['jobs']} ACDC jobs on SmolLM2-135M, τ = {found['threshold']}"
        rows += [
            (f"{jobs}: one process with one thread", duration(found["one_seconds"])),
            (
                f"{jobs}: {found['workers']} such processes",
                times_less(found["several_seconds"], found["ratio"]),
            ),
        ]
        if found["ray_seconds"] is not None:
            less = times_less(found["ray_seconds"], found["ray_ratio"])
            rows.append((f"{jobs}: {found['workers']} actors of a local Ray cluster", less))
        rows.append(
            (
                f"memory of {found['workers']} processes together",
                f"{found['pss_mib']:,} MiB (target: {found['bound_mib']:,} MiB at most, 1.2 × "
                f"{found['weights_mib']:,} MiB of weights plus each process's own memory)",
            )
        )
    return table(("what", "result"), rows)


def times_less(seconds: float, times: float) -> str:
    return f"{duration(seconds)}, {times:.2f}× as fast"


def relations() -> str:
    """Cost of a sweep over all public relations (bench_relations.py)."""
    head = ("model", "parameters", "EAP-IG, 5 steps", "ACDC, τ = 0.1")
    rows = []
    for row in (read("relations.json") or {"rows": []})["rows"]:
        scores, acdc = row["eap-ig-inputs"], row["acdc"]
        measured = scores.get("measured_relations", row["relations"])
        how = "measured" if measured == row["relations"] else f"{measured} of {row['relations']} measured"
        tests = f" (measured, {acdc['tests']:,} tests)" if "tests" in acdc else " (extrapolated)"
        rows.append(
            (
                row["model"],
                f"{row['parameters'] / 1e6:,.0f} million",
                f"{duration(scores['seconds'])} ({how})",
                f"{duration(acdc['seconds'])}{tests}",
            )
        )
    return table(head, rows)


def ops(text: str) -> list[Row]:
    """The ops, from the table in ops.md."""
    rows = (line.strip("|").split("|") for line in text.splitlines() if " ms |" in line)
    lines = [[cell.strip() for cell in row] for row in rows]

    def ratios(op: str, detail: str, column: int) -> str:
        chosen = (cells for cells in lines if cells[0] == op and detail in cells[2] and cells[column])
        found = [float(cells[column]) for cells in chosen]
        low, high = (f"{value:.2g}" if value < 9.5 else f"{value:.0f}" for value in (min(found), max(found)))
        return f"{low}×" if low == high else f"{low}–{high}×"

    readout = next(cells for cells in lines if cells[1].startswith("SmolLM2") and cells[0] == "vocab_readout")
    memory = re.search(r"fused ([\d,]+ MiB), obvious ([\d,]+ MiB)", text)
    assert memory is not None
    obvious = "straightforward torch code; the same with `torch.compile`"
    return [
        *(
            (
                f"`edge_mix`, {share} of the edges present (SmolLM2, LLaMA-7B layers)",
                obvious,
                f"{ratios('edge_mix', f' {share} present', 4)}; {ratios('edge_mix', f' {share} present', 5)}",
            )
            for share in ("1%", "100%")
        ),
        (
            "`edge_scores`, all pairs",
            "the fastest library product of that shape alone",
            f"{ratios('edge_scores', 'all pairs', 6)} its speed",
        ),
        (
            "`vocab_readout`, 1,800 × 49,152 × 576 with rank and top 10",
            "matmul + topk + logsumexp + rank; compiled",
            f"{float(readout[4]):.1f}×; {float(readout[5]):.1f}×; "
            f"{memory[1]} of extra memory for {memory[2]}",
        ),
    ]


def ratio(value: float) -> str:
    return f"{value:,.0f}×" if value >= 9.5 else f"{value:.2g}×"


def prompts_of(count: int) -> str:
    return f"{count} prompt" + ("s" if count > 1 else "")


def duration(seconds: float) -> str:
    """Three significant digits in a suitable unit."""
    for unit, name in ((3600, "h"), (60, "min")):
        if seconds >= 10 * unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds:.3g} s" if seconds >= 0.1 else f"{1000 * seconds:.3g} ms"


def methods_table(name: str) -> str:
    """A table of method_tables.py."""
    file, made = method_tables.TABLES[name]
    return table(*made(found)) if (found := read(file)) else ""


def study_table(made: Callable[[Any], tuple[Row, list[Row]]]) -> str:
    """A table of study_tables.py."""
    return table(*made(read("study.json"))) if read("study.json") else ""


def study_text(made: Callable[[Any], str]) -> str:
    """A list of study_tables.py, as a sentence."""
    return made(read("study.json")) if read("study.json") else ""


BY_ITSELF: dict[str, Callable[[Any], list[Row]]] = {
    "acdc.json": searches,
    "eap.json": attributions,
    "sweep.json": sweeps,
    "ops.md": ops,
    "scaling.json": large_model,
    "startup.json": startup,
}


TABLES: dict[str, dict[str, Callable[[], str]]] = {
    "README.md": {"measured": readme_table},
    "docs/performance.md": {
        "itself": partial(comparison_table, BY_ITSELF),
        "peers": tools_table,
        "growth": growth,
        "profile": profile,
        "circuits": circuits,
    },
    "docs/editing.md": {
        "editing": editing,
        "editors": editors,
        "guided": guided,
        "neighbours": neighbours,
    },
    "docs/findings.md": {
        **{name: partial(study_table, made) for name, made in study_tables.TABLES.items()},
        **{name: partial(study_text, made) for name, made in study_tables.TEXTS.items()},
    },
    "docs/methods.md": {name: partial(methods_table, name) for name in method_tables.TABLES},
    "docs/reading.md": {"heads": heads},
    "docs/sweeps.md": {"sweeps": sweeps_table, "relations": relations},
}


def main() -> None:
    for file, tables in TABLES.items():
        text = (ROOT / file).read_text()
        for name, made in tables.items():
            begin = f"<!-- table: {name}, written by benchmarks/tables.py -->"
            before, found, rest = text.partition(begin)
            _, ended, after = rest.partition(END)
            if not (found and ended):
                raise SystemExit(f"{file} lacks {begin}, or {END} after it")
            text = f"{before}{begin}\n{made()}\n{END}{after}"
        (ROOT / file).write_text(text)
        print(f"written: the tables in {file}")


if __name__ == "__main__":
    main()
