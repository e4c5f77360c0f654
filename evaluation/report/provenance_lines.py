"""What was run, as lines of the page: run.json without anything of the user's machine but file names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from femur_nnunet.evaluation.report.result_tables import ResultTables

_HASH_DIGITS = 16


def provenance_lines(tables: ResultTables) -> list[tuple[str, str]]:
    """Return name and value of everything that the report's numbers rest on."""
    run = tables.run
    arguments = ", ".join(f"{name} {plain(value)}" for name, value in dict(run.get("arguments", {})).items()
                          if value not in (None, [], {}))
    lines = [
        ("command", str(run.get("command", "not recorded"))),
        ("arguments", arguments or "not recorded"),
        ("seed", str(run.get("seed", "not recorded"))),
        ("date (UTC)", f"{run.get('started', 'not recorded')} to {run.get('ended', 'not recorded')}"),
        ("exit code", str(run.get("exit_code", "not recorded"))),
        ("versions", ", ".join(f"{name} {version}" for name, version in dict(run.get("versions", {})).items())),
        ("commit", str(run.get("commit") or "not recorded")),
        ("platform", str(run.get("platform", "not recorded"))),
        ("metrics schema", ", ".join(sorted({str(row.metrics_schema) for row in tables.rows}))),
        ("synthetic tier", ", ".join(sorted({row.tier_hash for row in tables.rows if row.tier_hash}))
         or "none given: not the synthetic kit, or --tier-hash was left out"),
        ("masks", f"{len({row.reference_sha256 for row in tables.rows if row.reference_sha256})} references and "
                  f"{len({row.prediction_sha256 for row in tables.rows if row.prediction_sha256})} predictions, each "
                  "with its SHA-256 in cases.csv")]
    for word, key in (("input", "inputs_sha256"), ("table", "outputs_sha256")):
        lines += [(f"{word} {name}", f"SHA-256 {str(digest)[:_HASH_DIGITS]}\N{HORIZONTAL ELLIPSIS}")
                  for name, digest in dict(run.get(key, {})).items()]
    return lines


def plain(value: Any) -> str:
    """Return a value of run.json in words, of every path its last part alone."""
    if isinstance(value, Mapping):
        return " ".join(f"{name}={plain(part)}" for name, part in value.items() if part is not None)
    if isinstance(value, (list, tuple)):
        return " ".join(plain(part) for part in value)
    text = str(value)
    if "/" in text or "\\" in text:
        return PureWindowsPath(PurePosixPath(text).name).name or "<path>"
    return text
