"""What a ComfyUI server can make: our flows against its nodes and files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flows.comfy import PACK, ComfyFlow, ComfyModel
from flows.server import Fault, NodeClass, Served, examine, matching, pack_fault, read_nodes, stem
from jobs.errors import WorkerUnreachable
from jobs.offer import LoraOffer, ModelOffer
from workers.drivers.comfy.client import ComfyClient

_LORA_NODE = "LoraLoader"
MODELS_MAX = 500
LORAS_MAX = 2_000


@dataclass(frozen=True, kw_only=True)
class Abilities:
    """A server's models, LoRAs and device, and what it lacks."""

    served: Mapping[tuple[str, str], Served]
    """By (model, kind)."""
    loras: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """The server's file by (family, our name)."""
    device: str = ""
    version: str = ""
    pack: str | None = None
    """Why it makes pictures one by one; None where it batches."""
    faults: tuple[Fault, ...] = ()

    def offers(self, limits: Mapping[str, int]) -> tuple[ModelOffer, ...]:
        """One offer a model, with all the kinds that it serves; ``limits`` are batches that its memory held."""
        merged: dict[str, ModelOffer] = {}
        best: dict[str, int] = {}
        for (name, _), served in self.served.items():
            size = served.flow.batch_max if served.batch else 1
            best[name] = max(best.get(name, 1), min(size, limits.get(name, size)))
            known = merged.get(name)
            merged[name] = served.offer if known is None else _joined(known, served.offer)
        return tuple(offer.model_copy(update={"best_batch": best[name]}) for name, offer in merged.items())

    @property
    def lora_offers(self) -> tuple[LoraOffer, ...]:
        """LoRAs by family."""
        return tuple(LoraOffer(name=name, family=family, title=name) for family, name in self.loras)


def _joined(known: ModelOffer, other: ModelOffer) -> ModelOffer:
    """Both kinds; of choices and figures only what holds for both, since an offer tells them once."""
    schedulers = tuple(name for name in known.schedulers if name in other.schedulers) if known.schedulers and other.schedulers else ()
    return known.model_copy(
        update={
            "kinds": (*known.kinds, *(kind for kind in other.kinds if kind not in known.kinds)),
            "schedulers": schedulers or known.schedulers or other.schedulers,
            "loras_max": min(known.loras_max, other.loras_max),
            "count_max": min(known.count_max, other.count_max),
            "scales": known.scales or other.scales,
            "frames_max": max(known.frames_max, other.frames_max),
        }
    )


async def read_abilities(client: ComfyClient, flows: Sequence[ComfyFlow]) -> Abilities:
    """Ask for the nodes that our flows use, one by one: all of them together are a megabyte and take a second."""
    names = sorted({name for flow in flows for template in flow.templates for name in template.classes} | {*PACK, _LORA_NODE})
    nodes: dict[str, NodeClass] = {}
    for name in names:
        nodes |= read_nodes(await client.node(name))
    return _abilities(flows, nodes, await client.stats())


def _abilities(flows: Sequence[ComfyFlow], nodes: Mapping[str, NodeClass], stats: Mapping[str, object]) -> Abilities:
    served: dict[tuple[str, str], Served] = {}
    faults: list[Fault] = []
    for flow in flows:
        found, lacking = examine(flow, models_for(flow, flows), nodes)
        faults += lacking
        for one in found:
            if len(served) < MODELS_MAX:
                served.setdefault((one.offer.name, flow.kind), one)
    device, version = _device(stats)
    return Abilities(
        served=served, loras=_loras(flows, nodes), device=device, version=version, pack=pack_fault(nodes), faults=tuple(faults)
    )


def models_for(flow: ComfyFlow, flows: Sequence[ComfyFlow]) -> Sequence[ComfyModel]:
    """A flow's own models, or those of the flows that it serves too."""
    return flow.models or [model for name in flow.models_of for other in flows if other.name == name for model in other.models]


def _loras(flows: Sequence[ComfyFlow], nodes: Mapping[str, NodeClass]) -> dict[tuple[str, str], str]:
    known = nodes[_LORA_NODE].inputs.get("lora_name") if _LORA_NODE in nodes else None
    found: dict[tuple[str, str], str] = {}
    for flow in flows:
        for model in flow.models if flow.loras is not None else ():
            for file in matching((known.choices or ()) if known else (), flow.loras.files if flow.loras else ()):
                if len(found) < LORAS_MAX and file.lower().endswith(".safetensors"):
                    found.setdefault((model.family, stem(file)[:100]), file)
    return found


def _device(stats: Mapping[str, object]) -> tuple[str, str]:
    """("NVIDIA RTX 4090, 22 of 24 GiB free", version). Raises WorkerUnreachable for what is not ComfyUI's answer."""
    system, devices = stats.get("system"), stats.get("devices")
    if not isinstance(system, dict) or not isinstance(devices, list):
        raise WorkerUnreachable("worker_unreachable", reason="its answer is not ComfyUI's")
    version = str(system.get("comfyui_version", "?"))[:20]
    first = devices[0] if devices and isinstance(devices[0], dict) else {}
    free, total = first.get("vram_free"), first.get("vram_total")
    memory = f", {free / 2**30:.0f} of {total / 2**30:.0f} GiB free" if isinstance(free, int) and isinstance(total, int) else ""
    return f"ComfyUI {version}: {str(first.get('name', 'unknown device'))[:60]}{memory}", version
