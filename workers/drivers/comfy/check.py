"""``darkroom flows check``: every flow against every server, in lines for the operator."""

from collections.abc import AsyncIterator, Mapping, Sequence

from flows.comfy import ComfyFlow
from jobs.errors import WorkerFault
from workers.drivers.comfy.abilities import Abilities, read_abilities
from workers.drivers.comfy.client import ComfyClient
from workers.drivers.comfy.fleet import session_for_comfy
from workers.drivers.comfy.patience import Patience


async def check_flows(urls: Sequence[str], flows: Sequence[ComfyFlow], keys: Mapping[str, str | None]) -> AsyncIterator[tuple[bool, str]]:
    """(whether it is well, line) for each server and each flow.

    A flow whose files a server lacks is no fault; a server that does not answer, or serves no flow at all, is.
    """
    async with session_for_comfy() as session:
        for url in urls:
            client = ComfyClient(url=url, session=session, key=keys.get(url), patience=Patience())
            try:
                abilities = await read_abilities(client, flows)
            except WorkerFault as fault:
                yield False, f"{url}: {fault.details.get('reason', fault)}"
                continue
            for told in _lines(url, abilities, flows):
                yield told


def _lines(url: str, abilities: Abilities, flows: Sequence[ComfyFlow]) -> list[tuple[bool, str]]:
    pack = f"; {abilities.pack}, so people are served one by one" if abilities.pack else "; its node pack lets people share a pass"
    lines = [(bool(abilities.served), f"{url}: {abilities.device}{pack}")]
    for flow in flows:
        models = {name: one for (name, kind), one in abilities.served.items() if kind == flow.kind and one.flow is flow}
        for name, one in models.items():
            together = f"up to {flow.batch_max} together" if one.batch else "one by one"
            lines.append((True, f"  + {flow.name} ({flow.kind}): {name}, {together}; {', '.join(one.files.values())}"))
        faults = [fault for fault in abilities.faults if fault.flow == flow.name and not (fault.batch_only and abilities.pack)]
        for fault in faults:
            if fault.model and models:
                continue  # another of its models is there
            what = f" {fault.model}" if fault.model else ""
            lines.append((True, f"  - {flow.name} ({flow.kind}){what}: {fault.sentence} on {url}"))
    return lines
