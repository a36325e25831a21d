"""A study file → what is right with it, in a few lines, or every problem at once. Only headers are read."""

from pathlib import Path

from flows.plan import key_fingerprint, raw_source, with_source
from pipelines.errors import SourceError
from pipelines.protocol import Protocol, load_protocol

NOT_READ = "not read, since no table that is used was found in them"


def check_study(study: Path, source: Path | None) -> list[str]:
    """Check a protocol and the headers of what it reads.

    Raises:
        ProtocolError: the protocol breaks a rule.
        SourceError: files or columns are missing.
        GovernanceError: real data without the statements that allow their use.
    """
    protocol = with_source(load_protocol(study), source)
    return [f"{study}: the protocol of '{protocol.study.name}' keeps every rule", *_check_source(protocol)]


def _check_source(protocol: Protocol) -> list[str]:
    source = protocol.source
    if source.kind == "synthetic":
        assert source.synthetic is not None, "the protocol's own rule"
        return [f"source: the generator will draw {source.synthetic.people:,} people (seed {source.synthetic.seed})"]
    if source.kind == "table":
        return [_check_tables(protocol)]
    from pipelines.governance import check_manifest
    from pipelines.lake import problems_of_study
    from pipelines.sources.extract import examine
    from pipelines.sources.participants import check_participants

    assert source.folder is not None, "the protocol's own rule"
    if not source.folder.is_dir():
        raise SourceError(f"{source.folder}: there is no such folder; --source DIR names another")
    check_manifest(source.folder)
    extract = examine(raw_source(source, source.folder))
    problems = problems_of_study(extract)
    if not (source.folder / source.participants).is_file():
        problems.append(f"{source.folder / source.participants}: the allocation list is missing")
    else:
        problems += check_participants(source.folder / source.participants)
    try:
        key_fingerprint(protocol)
    except SourceError as error:
        problems += error.problems
    if problems:
        raise SourceError(problems)
    unread = [name for name in extract.ignored if name != source.participants]
    return [
        f"{source.folder}: every needed file and column is there, and so are the statements of its manifest",
        *([f"{NOT_READ}: {', '.join(unread)}"] if unread else []),
    ]


def _check_tables(protocol: Protocol) -> str:
    from pipelines.sources.table import check_tables

    covariates, columns = protocol.covariates, protocol.outcomes.columns
    outcomes = [columns[name].column for name in (protocol.outcomes.primary, *protocol.outcomes.secondary)]
    named = [] if protocol.source.id_column is None else [protocol.source.id_column]
    problems = check_tables(protocol.source, [*named, *covariates.numeric, *covariates.categorical, *outcomes])
    if problems:
        raise SourceError(problems)
    return f"source: {len(protocol.source.tables)} tables with every named column"
