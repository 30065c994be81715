"""Say the findings in sentences that a reader without the page could act on, each number of which stands elsewhere in the summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.report.wording import count, decimal, large, percent, plural, size, spread

_TOLD = {
    "keep": "kept as they are",
    "downweight": "kept with less weight",
    "mask": "kept with masked spans",
    "review": "under review",
    "drop": "dropped",
}


def opinion(summary: Mapping[str, Any]) -> list[str]:
    """Return what the gates came to, then the findings."""
    spans = summary["duplication"]["repeated_spans"]
    rows = [_on_rows(summary), *([_on_spans(spans)] if spans else [])]
    return [_on_gates(summary["gates"]), *rows, _on_sinks(summary), _on_decisions(summary["decisions"]), _on_scores(summary)]


def answers(summary: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return what every reviewer asks, in order, with an answer and the `section` of the page that holds the evidence."""
    spans, copies = summary["duplication"]["repeated_spans"], summary["duplication"]
    why = [_on_rows(summary), *([_on_spans(spans)] if spans else [])]
    unseen = summary["scope"]["not_examined"]
    asked = (
        ("What went in?", "scope", _on_input(summary)),
        ("What went out, and why?", "rows", " ".join(why)),
        ("What will a model memorize?", "sinks", _on_sinks(summary)),
        ("What was decided?", "decisions", _on_decisions(summary["decisions"])),
        ("How sure is that?", "limits", f"{_on_recall(copies['planted_recall'])} {_on_scores(summary)}"),
        ("Who is hit?", "decisions", _on_shift(summary)),
        ("Is there sensitive text?", "sensitive", _on_patterns(summary["sensitive"])),
        ("What was not examined?", "scope", _listed(unseen)),
        ("How can it be repeated?", "reproduce", _on_repeating(summary["reproduce"])),
    )
    return [{"question": question, "section": section, "answer": answer} for question, section, answer in asked]


def _on_gates(gates: Mapping[str, Any]) -> str:
    tally, total = gates["tally"], sum(gates["tally"].values())
    if not total:
        return "No gate was evaluated."
    parts = [f"{tally['pass']} of {plural(total, 'gate')} hold"]
    parts += [f"{tally['fail']} failed"] * bool(tally["fail"]) + [f"{tally['warn']} warned"] * bool(tally["warn"])
    parts += [f"{tally['waived']} waived"] * bool(tally["waived"])
    parts += [f"{tally['not_measured']} could not be judged"] * bool(tally["not_measured"])
    return ", ".join(parts) + "."


def _on_rows(summary: Mapping[str, Any]) -> str:
    steps = {step["step"]: step for step in summary["flow"]["steps"]}
    copies = steps["exact"]["rows"] + steps["near"]["rows"]
    copied = summary["duplication"]["rows_of_references"]
    told = f" ({count(copied)} of them for a document of a reference)" if summary["duplication"]["references"] else ""
    return (
        f"Of {plural(steps['in']['rows'], 'row')}, {count(copies)} ({percent(summary['duplication']['share_removed'])}) copied another row "
        f"that was kept and were removed{told}; {count(steps['kept']['rows'])} rows remain in the filtered data."
    )


def _on_spans(spans: Mapping[str, Any]) -> str:
    if not spans["num_spans"]:
        return f"No passage of {count(spans['min_words'])} words or more repeats across documents that differ as wholes."
    treated = spans["treated"]
    done = f"; {plural(treated['rows_masked'], 'row')} mask such text" if treated["rows_masked"] else ""
    done = f"; it was cut out of {plural(treated['rows_trimmed'], 'row')}" if treated["rows_trimmed"] else done
    return (
        f"{plural(spans['num_distinct'], 'passage')} of {count(spans['min_words'])} words or more "
        f"{'repeats' if spans['num_distinct'] == 1 else 'repeat'} across documents that differ as "
        f"wholes: {percent(spans['share_of_text'])} of the text that deduplication left, "
        f"in {plural(spans['num_documents'], 'document')}{done}."
    )


def _on_sinks(summary: Mapping[str, Any]) -> str:
    sinks = summary["sinks"]
    if not sinks["rows_judged"]:
        return "No row was scored for memorization."
    memorized, low, high = (decimal(sinks[key]) for key in ("expected_memorized", "expected_memorized_low", "expected_memorized_high"))
    return (
        f"A model of {large(sinks['definition']['target_parameters'])} parameters that trains on the unfiltered corpus is expected to "
        f"memorize {memorized} of the {count(sinks['rows_judged'])} rows that deduplication left (the sum of their sink scores; from {low} "
        f"to {high} if all lay at the ends of their intervals). What a model that trains on the filtered data would memorize was not "
        f"measured. {_reach(sinks)}Skill of these scores on held-out clusters, at the proxies' own size (Brier skill, 0 is none): "
        f"{spread(sinks['evaluation']['calibration']['brier_skill'])}."
    )


def _reach(sinks: Mapping[str, Any]) -> str:
    """Say how far beyond the labelled proxies the scores reach, if they do."""
    sizes = sinks["evaluation"]["label_sizes"]
    if not sizes or sinks["definition"]["target_parameters"] <= max(sizes):
        return ""
    times = sinks["definition"]["target_parameters"] / max(sizes)
    return f"This extrapolates to {large(times)} times the largest proxy with labels. "


def _on_decisions(decisions: Mapping[str, Any]) -> str:
    told = [f"{count(number)} {_TOLD[action]}" for action, number in decisions["rows_by_action"].items() if number]
    rule, threshold = decisions["policy"], decisions["policy"]["sink_threshold"]
    bound = " by the lower end of its interval" if rule["sink_bound"] == "low" else ""
    policy = f"policy {rule['policy']} from a sink score of {decimal(threshold)} up{bound}"
    if not told:
        return f"No row was decided on; {policy}."
    # the curve has steps of its own: a threshold between two of them has no count there
    reached = [point["rows"] for point in decisions["what_if"] if abs(point["threshold"] - threshold) < 1e-9]
    score = f" {plural(reached[0], 'row')} {'scores' if reached[0] == 1 else 'score'} that much by the point value." if reached else ""
    return f"Rows by decision: {', '.join(told)}; {policy}.{score}"


def _on_input(summary: Mapping[str, Any]) -> str:
    scope, first = summary["scope"], summary["flow"]["steps"][0]
    tokens = "" if first["tokens"] is None else f", {large(first['tokens'])} tokens"
    files = "" if scope["num_files"] is None else f" in {plural(scope['num_files'], 'file')}"
    came = f"{plural(scope['num_documents'], 'row')} ({size(scope['num_bytes'])}{tokens})"
    return f"{came} from {plural(scope['num_sources'], 'source')}{files}; {plural(scope['num_texts'], 'distinct text')}."


def _on_recall(recall: Mapping[str, Any]) -> str:
    if recall["value"] is None:
        return "How many copies deduplication missed was not measured."
    return f"Of made-up copies, put in as a test, deduplication removed {spread(recall, 'percent')}."


def _on_scores(summary: Mapping[str, Any]) -> str:
    sinks, decisions = summary["sinks"], summary["decisions"]
    if not sinks["rows_judged"]:
        return "No row was scored."
    positives = sinks["evaluation"]["num_positive"]
    rests = "" if positives is None else f" The scores were checked on {plural(positives, 'memorized cluster')}."
    return (
        f"For {count(decisions['num_near_threshold'])} of {plural(sinks['rows_judged'], 'scored row')} "
        f"({percent(decisions['share_near_threshold'])}) the interval of the score holds the threshold: there the score alone settles "
        f"nothing.{rests}"
    )


def _on_shift(summary: Mapping[str, Any]) -> str:
    shift = summary["decisions"]["shift"]
    sources, lengths = (_with_rows_left(shift[key]) for key in ("source", "length"))
    if not sources:
        return "No source has rows left to compare."
    most = _moved_most(sources)
    lost = f"{count(most['drop'])} of its {plural(most['rows'], 'row')} are dropped."
    if len(shift["source"]) == 1:
        told = f"All rows are of one source, {most['name']}; {lost}"
    else:
        told = f"Source {most['name']} moves most: {_moved(most)}, weights counted; {lost}"
    if len(shift["length"]) > 1:
        length = _moved_most(lengths)
        told += f" By length, texts of {length['name']} move most: {_moved(length)}."
    return told


def _with_rows_left(groups: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [row for row in groups if row["share_after"] is not None]


def _moved_most(groups: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    return max(groups, key=lambda row: abs(row["share_after"] - row["share_before"]))


def _moved(group: Mapping[str, Any]) -> str:
    return f"{percent(group['share_before'])} of the rows before, {percent(group['share_after'])} after"


def _on_patterns(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "Nobody looked."
    secrets, personal = (_kinds_found(found["kinds"], group) for group in ("secret", "personal"))
    return (
        f"In {plural(found['examined']['documents'], 'searched row')} of the filtered data: {secrets or 'no secret-like pattern'}; "
        f"{personal or 'no pattern of personal data'}. Patterns were counted; this is no audit for personal data."
    )


def _kinds_found(kinds: Sequence[Mapping[str, Any]], group: str) -> str:
    found = sorted((kind for kind in kinds if kind["group"] == group and kind["values"]), key=lambda kind: -kind["values"])
    return ", ".join(f"{kind['label']} ({count(kind['values'])} in {plural(kind['documents'], 'row')})" for kind in found)


def _listed(unseen: Sequence[str]) -> str:
    """Say the heads of what was not examined: what stands before the colon of each line."""
    heads = [line.split(":")[0].rstrip(".") for line in unseen]
    return "; ".join([heads[0], *(head[0].lower() + head[1:] for head in heads[1:])]) + "."


def _on_repeating(reproduce: Mapping[str, Any]) -> str:
    seeds = ", ".join(f"{key} {value}" for key, value in reproduce["seeds"].items())
    digest = reproduce["digests"].get("input")
    told = f" on the input with digest {digest}" if digest else ""
    return f"{reproduce['command'] or 'The command was not recorded'}{told}; seeds: {seeds}."
