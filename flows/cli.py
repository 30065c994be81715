"""`sinkaudit ...`: what a person types. Results go to stdout, everything else to stderr.

Exit codes: 0 pass or warn, 1 a gate failed or stored bytes do not match, 2 usage, configuration or input, 3 internal, 130 interrupted.
Heavy imports live inside the commands so that `--help` answers at once.
"""

from __future__ import annotations

import json
import signal
import sys
import traceback
from typing import Any, NoReturn

import click

from pipeline.errors import SinkauditError

INTERRUPTED = 130


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived: leave the way Ctrl-C does, ending workers and the local Prefect server."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--debug", is_flag=True, help="Show the traceback of an error; it may quote rows of the corpus.")
@click.version_option(package_name="sinkaudit")
@click.pass_context
def cli(context: click.Context, debug: bool) -> None:
    """Audit a text corpus before training: deduplicate it, predict what a model will memorize, filter it, report."""
    context.obj = {"debug": debug}


@cli.command()
@click.argument("corpus")
@click.option("--output", "-o", default="audit.yaml", show_default=True, help="Where to write the configuration.")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def init(corpus: str, output: str, force: bool) -> None:
    """Write a commented configuration for CORPUS (file, folder, glob or URL), its column names guessed."""
    from flows.starter import starter_yaml
    from pipeline.errors import ConfigError
    from pipeline.places import locate
    from pipeline.store import write_bytes

    filesystem, plain = locate(output)
    if filesystem.exists(plain) and not force:
        raise ConfigError("the file exists already", where=output, do="choose another name with --output, or pass --force")
    write_bytes(output, starter_yaml(corpus).encode())
    click.echo(output)


@cli.command()
@click.argument("config")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a setting, e.g. dedup.threshold=0.7.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def plan(config: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Estimate rows, memory, disk, time and proxy budget; change nothing."""
    from flows.plan import estimate, plan_text
    from pipeline.config import load_config

    estimated = estimate(load_config(config, overrides))
    click.echo(json.dumps(estimated, indent=1) if as_json else plan_text(estimated))


@cli.command()
@click.argument("config")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a setting, e.g. dedup.threshold=0.7.")
@click.option("--strict", is_flag=True, help="Exit 1 on a warning, too.")
@click.option("--quiet", is_flag=True, help="No progress.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def run(config: str, overrides: tuple[str, ...], strict: bool, quiet: bool, as_json: bool) -> None:
    """Run (or resume) an audit and print where its report and filtered data are."""
    signal.signal(signal.SIGTERM, _terminate)
    from pipeline.config import load_config

    settings = load_config(config, overrides)
    from flows.audit import run_audit

    result = run_audit(settings, quiet=quiet)
    click.echo(json.dumps(result.as_dict(), indent=1) if as_json else result.text())
    failing = {"FAIL", "WARN"} if strict else {"FAIL"}
    sys.exit(1 if result.verdict in failing else 0)


@cli.command()
@click.argument("config")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a setting, e.g. dedup.threshold=0.7.")
@click.option("--quiet", is_flag=True, help="No progress.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def deduplicate(config: str, overrides: tuple[str, ...], quiet: bool, as_json: bool) -> None:
    """Deduplicate (or resume) and write the rows that stay; train and score nothing."""
    signal.signal(signal.SIGTERM, _terminate)
    from pipeline.config import load_config

    settings = load_config(config, overrides)
    from flows.copies import run_copies

    result = run_copies(settings, quiet=quiet)
    click.echo(json.dumps(result.values, indent=1) if as_json else result.text())


@cli.command()
@click.argument("config")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a setting, e.g. validation.dial=6.")
@click.option("--only", type=click.Choice(["labels", "arms", "judge"]), help="Train label halves or arms alone, or judge what is trained.")
@click.option("--quiet", is_flag=True, help="No progress.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def validate(config: str, overrides: tuple[str, ...], only: Any, quiet: bool, as_json: bool) -> None:
    """Freeze an audit's predictions, train real targets (or go on training), and hold one against the other."""
    signal.signal(signal.SIGTERM, _terminate)
    from pipeline.config import load_config

    settings = load_config(config, overrides)
    from flows.validate import run_validation

    command = " ".join(["sinkaudit", "validate", config, *(f"--set {override}" for override in overrides)])
    result = run_validation(settings, only, command, quiet=quiet)
    click.echo(json.dumps(result.values, indent=1) if as_json else result.text())


@cli.command()
@click.argument("run_folder", metavar="RUN")
@click.option("--doc", required=True, help="A document: doc_id, or your own id of it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--ledger", default="data/runs", show_default=True, help="Where runs are kept, if RUN is a run's name.")
def explain(run_folder: str, doc: str, as_json: bool, ledger: str) -> None:
    """Say why RUN (its name or folder) keeps, weighs down or drops one document."""
    from flows.look import explain_document

    explanation = explain_document(run_folder, doc, ledger)
    click.echo(json.dumps(explanation.to_json(), indent=1) if as_json else explanation.to_text())


@cli.command()
@click.argument("run_folder", metavar="RUN")
@click.option("--overrides", multiple=True, metavar="FILE", help="A reviewer's overrides, as the report exports them; later files win.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Set a release.* or report.* anew, e.g. release.policy=review.")
@click.option("--strict", is_flag=True, help="Exit 1 on a warning, too.")
@click.option("--quiet", is_flag=True, help="No progress.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("--ledger", default="data/runs", show_default=True, help="Where runs are kept, if RUN is a run's name.")
def apply(
    run_folder: str, overrides: tuple[str, ...], settings: tuple[str, ...], strict: bool, quiet: bool, as_json: bool, ledger: str
) -> None:
    """Decide again from the tables of RUN (its name or folder), computing nothing anew, into a new run."""
    signal.signal(signal.SIGTERM, _terminate)
    from flows.apply import run_apply

    result = run_apply(run_folder, overrides, settings, ledger, quiet=quiet)
    click.echo(json.dumps(result.as_dict(), indent=1) if as_json else result.text())
    failing = {"FAIL", "WARN"} if strict else {"FAIL"}
    sys.exit(1 if result.result.verdict in failing else 0)


@cli.command()
@click.argument("before", metavar="RUN_A")
@click.argument("after", metavar="RUN_B")
@click.option("--output", "-o", metavar="FILE.html", help="Also write the differences as a page.")
@click.option(
    "--excerpts", type=click.Choice(["none", "short", "full"]), default="none", show_default=True, help="Corpus text on that page."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--ledger", default="data/runs", show_default=True, help="Where runs are kept, if a run is named.")
def diff(before: str, after: str, output: str | None, excerpts: Any, as_json: bool, ledger: str) -> None:
    """Say which decisions differ between two runs, and why."""
    from flows.compare import compare

    compared = compare(before, after, ledger)
    if output is not None:
        compared.write_page(output, excerpts)
    click.echo(compared.to_json() if as_json else compared.text())
    if output is not None:
        click.echo(f"page: {output}", err=as_json)


@cli.command()
@click.argument("run_folder", metavar="RUN")
@click.option("--excerpts", type=click.Choice(["none", "short", "full"]), required=True, help="How much corpus text the page shows.")
@click.option("--output", "-o", metavar="DIR", help="Another folder than that of RUN's own report.")
@click.option("--ledger", default="data/runs", show_default=True, help="Where runs are kept, if RUN is a run's name.")
def report(run_folder: str, excerpts: Any, output: str | None, ledger: str) -> None:
    """Draw the page of RUN again with other excerpts, for wider or closer circulation; the signed page stays."""
    from flows.redraw import redraw

    click.echo(redraw(run_folder, excerpts, output, ledger))


@cli.command()
@click.argument("dataset")
@click.option(
    "--require", type=click.Choice(["pass", "warn", "any"]), default="any", show_default=True, help="The worst verdict to accept."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify(dataset: str, require: str, as_json: bool) -> None:
    """Check that a filtered DATASET folder is whole and byte for byte what its audit released.

    A gate that is waived lowers no verdict, until its waiver's last day is past.
    """
    from datetime import UTC, datetime

    from flows.look import verify_dataset

    result = verify_dataset(dataset, require, datetime.now(UTC).date())
    waived = "".join(f", {gate} waived until {until}" for gate, until in result["waived"].items())
    told = f"OK: {result['num_files']} files match, verdict {result['verdict']}{waived}"
    click.echo(json.dumps(result, indent=1) if as_json else told)


@cli.command()
@click.argument("configs", nargs=-1, required=True, metavar="CONFIG...")
@click.option("--output", "-o", default="prefect.yaml", show_default=True, help="The file to write; an existing one is overwritten.")
def deployments(configs: tuple[str, ...], output: str) -> None:
    """Write the deployments of each CONFIG's corpus (nightly, weekly, on demand) for `prefect deploy`, every setting spelled out."""
    from flows.deployments import render_deployments
    from pipeline.config import load_config
    from pipeline.store import write_bytes

    write_bytes(output, render_deployments({path: load_config(path) for path in configs}, output).encode())
    click.echo(output)


@cli.command()
@click.argument("config")
@click.option("--cron", default="0 3 * * *", show_default=True, help="When the nightly audit runs, UTC.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a setting, e.g. dedup.threshold=0.7.")
def serve(config: str, cron: str, overrides: tuple[str, ...]) -> None:
    """Serve the deployments of CONFIG's corpus from this process until Ctrl-C; needs a Prefect server (`prefect server start`)."""
    signal.signal(signal.SIGTERM, _terminate)
    from pipeline.config import load_config

    settings = load_config(config, overrides)
    from flows.server import find_server

    url = find_server()
    from flows.serve import serve_audits

    serve_audits(settings, url, cron)


@cli.command()
@click.argument("deployment", metavar="FLOW/NAME")
@click.option("--corpus", required=True, help="The name that the audit's configuration gives the corpus.")
@click.option("--gate", default="*", help="One gate's name; default: any gate.")
def hold(deployment: str, corpus: str, gate: str) -> None:
    """Pause the deployment FLOW/NAME, a training say, from now on whenever a gate of a corpus's audit fails."""
    from flows.hold import hold_back

    click.echo(hold_back(deployment, corpus, gate))


def main() -> NoReturn:
    """Run the command line and turn every outcome into its exit code."""
    try:
        cli(standalone_mode=False)
        sys.exit(0)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.exceptions.Abort, KeyboardInterrupt):  # click makes the one of the other
        click.echo("interrupted; the same command resumes", err=True)
        sys.exit(INTERRUPTED)
    except SinkauditError as error:
        _explain_failure(error)
        sys.exit(error.exit_code)
    except Exception as error:  # noqa: BLE001  the last line of defence: anything else is a defect of ours
        _explain_failure(error)
        sys.exit(3)


def _explain_failure(error: Exception) -> None:
    if "--debug" in sys.argv:
        _show_causes(error)
        traceback.print_exception(error)
    elif isinstance(error, SinkauditError):
        click.echo(f"error: {error}", err=True)
    else:
        click.echo(f"internal error: {type(error).__name__}; run again with `sinkaudit --debug ...` and report it", err=True)


def _show_causes(error: BaseException | None) -> None:
    """Let a traceback show what caused an error of ours, which flows keep to themselves because it may quote the corpus."""
    while error is not None:
        error.__suppress_context__ = False
        error = error.__context__


def _terminate(*_: Any) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one would cut the leaving short and leave processes behind
    raise Terminated


if __name__ == "__main__":
    main()
