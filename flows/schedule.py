"""A study on a schedule: a Prefect deployment of the flow with its parameters, served until this process is stopped."""

from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from flows.server import prefect_server
from flows.settings import Settings, prepare_prefect
from pipelines.errors import ProtocolError
from pipelines.protocol import load_protocol


def serve_study(
    study: Path, source: Path | None, settings: Settings, *, cron: str, timezone: str, page_port: int
) -> None:
    """Serve a study's deployment: runs start when the schedule says so, or from Prefect's page; ends with Ctrl-C.

    Without a server of the user's own, one with a page is started on `page_port` of 127.0.0.1.

    Raises:
        ProtocolError: the protocol breaks a rule, or the schedule is none.
        ServerError: Prefect's server does not start.
    """
    protocol = load_protocol(study)
    prepare_prefect(settings, is_quiet=False)
    with prefect_server(settings, page_port=page_port) as address:
        schedule = _schedule(cron, timezone)
        # Prefect reads its settings when it is imported, so not before the server's address is known.
        from prefect.types.entrypoint import EntrypointType

        from flows.study import study_flow

        print(f"Prefect's page: {address.removesuffix('/api')}", flush=True)
        parameters = {
            "study": str(study.resolve()),
            "source": None if source is None else str(source.resolve()),
            "runs": str(settings.runs),
        }
        study_flow.serve(
            name=protocol.study.name,
            schedule=schedule,
            parameters=parameters,
            description=f"{protocol.study.title}\n\n{protocol.study.question}",
            tags=["virtual-controls"],
            # Studies wait for one another: each uses every core.
            limit=1,
            entrypoint_type=EntrypointType.MODULE_PATH,
        )


def _schedule(cron: str, timezone: str) -> Any:
    from prefect.client.schemas.schedules import CronSchedule
    from prefect.schedules import Cron

    try:
        ZoneInfo(timezone)
        CronSchedule(cron=cron, timezone=timezone)
    except (ValueError, KeyError, OSError):
        raise ProtocolError(
            f"'{cron}' in '{timezone}' is no schedule; five fields (minute hour day month weekday), "
            "for example '0 6 1 * *' for six o'clock on the first of each month, and a zone such as Europe/London"
        ) from None
    return Cron(cron, timezone=timezone)
