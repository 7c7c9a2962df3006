"""Graphs and their slots: checked against ComfyUI's own rules, and closed to whatever people type."""

import json
from pathlib import Path

import pytest

from flows.catalog import FlowError, read_catalog
from flows.comfy import PACK
from flows.graph import NODES_MAX, GraphError, fill, read_template, with_loras
from flows.server import examine, matching, read_nodes
from tests.comfy.conftest import FLOWS
from tests.comfy_server.server import FILES
from tests.comfy_server.validation import object_info, refusal
from workers.drivers.comfy.abilities import models_for

FILES_OF_ALL = {**FILES, "unet_name": [*FILES["unet_name"], "z_image_turbo_bf16.safetensors"]}
ALL = read_nodes(object_info(FILES_OF_ALL, pack=True))
BY_NAME = {flow.name: flow for flow in FLOWS}
SHIPPED = ("animatediff", "flux-gguf", "flux-kontext", "image-to-image", "inpaint", "sd15", "sdxl", "upscale", "z-image-turbo")


def values(**changes) -> dict:
    plain = {
        "prompt": "a cat", "negative": "", "seed": 1, "guidance": 3.0, "name": "n", "image": "darkroom/x.png", "mask": "darkroom/m.png",
        "prompts": ["a", "b"], "negatives": ["", ""], "seeds": [1, 2], "guidances": [3.0, 4.0], "images": ["x.png", "y.png"], "names": ["n", "m"],
        "count": 2, "steps": 4, "sampler": "euler", "scheduler": "normal", "width": 64, "height": 64, "strength": 0.5, "frames": 8, "fps": 8,
        "scaled_width": 128, "scaled_height": 128, "folder": "darkroom",
    }  # fmt: skip
    return plain | changes


def test_every_recipe_of_the_issue_ships():
    assert set(BY_NAME) == set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_flow_breaks_none_of_comfyuis_rules(name):
    flow = BY_NAME[name]
    served, faults = examine(flow, models_for(flow, FLOWS), ALL)
    assert not faults
    assert served
    for one in served:
        for template in flow.templates:
            graph = fill(template, values(), files=one.files)
            inputs = {"darkroom/x.png", "darkroom/m.png"}
            assert refusal(graph, object_info(FILES_OF_ALL, pack=True), inputs) is None


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_flow_needs_the_pack_only_for_its_batch(name):
    flow = BY_NAME[name]
    stock = read_nodes(object_info(FILES_OF_ALL, pack=False))
    served, faults = examine(flow, models_for(flow, FLOWS), stock)
    assert served
    assert not any(one.batch for one in served)
    assert all(fault.batch_only for fault in faults)
    assert bool(faults) is (flow.batch is not None)


def test_a_missing_file_is_named_with_the_folder_it_belongs_in():
    nodes = read_nodes(object_info({**FILES_OF_ALL, "vae_name": []}, pack=True))
    _, faults = examine(BY_NAME["flux-gguf"], BY_NAME["flux-gguf"].models, nodes)
    (fault,) = faults
    assert "vae_name" in fault.sentence
    assert "models/vae" in fault.sentence


def test_a_missing_node_is_named_with_the_pack_it_comes_with():
    nodes = {name: node for name, node in ALL.items() if not name.startswith("ADE_")}
    served, faults = examine(BY_NAME["animatediff"], BY_NAME["animatediff"].models, nodes)
    assert not served
    assert any("ADE_AnimateDiffLoaderGen1" in fault.sentence and "ComfyUI-AnimateDiff-Evolved" in fault.sentence for fault in faults)


@pytest.mark.parametrize("lacking", PACK)
def test_a_pack_without_one_of_its_nodes_is_too_old(lacking):
    nodes = {name: node for name, node in ALL.items() if name != lacking}
    served, faults = examine(BY_NAME["sd15"], BY_NAME["sd15"].models, nodes)
    assert [one.batch for one in served] == [False]
    assert "too old" in faults[0].sentence


def test_every_matching_checkpoint_is_a_model_of_its_own():
    files = {**FILES, "ckpt_name": ["sd15/a.safetensors", "sd15\\b.safetensors", "Other-SD15.safetensors", "what.safetensors"]}
    served, _ = examine(BY_NAME["sd15"], BY_NAME["sd15"].models, read_nodes(object_info(files, pack=True)))
    assert {one.offer.name: one.files["ckpt_name"] for one in served} == {
        "a": "sd15/a.safetensors", "b": "sd15\\b.safetensors", "Other-SD15": "Other-SD15.safetensors",
    }  # fmt: skip


def test_globs_ignore_capitals_and_folders_and_keep_their_order():
    assert matching(["x/AE.sft", "ae.safetensors", "no"], ["ae.safetensors", "ae.sft"]) == ["ae.safetensors", "x/AE.sft"]


HOSTILE = ['["1", 0]', "$seed", "${seed}", '"}, "99": {"class_type": "X"', "embedding:../../secret", "EMBEDDING : x", "%date%", "\u202e", "{{x}}"]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("name", ["sd15", "flux-gguf"])
def test_peoples_words_stay_words(name, text):
    flow = BY_NAME[name]
    files = {slot: "f" for model in flow.models for slot in model.files}
    plain = fill(flow.single, values(), files=files)
    graph = fill(flow.single, values(prompt=text), files=files)
    changed = {
        (node, label) for node in graph for label in graph[node]["inputs"] if graph[node]["inputs"][label] != plain[node]["inputs"][label]
    }
    assert set(graph) == set(plain)
    assert changed == {("positive", "text")}
    assert isinstance(graph["positive"]["inputs"]["text"], str)
    assert "embedding:" not in graph["positive"]["inputs"]["text"].lower().replace(" ", "")
    batch = fill(flow.batch, values(prompts=[text, "b"]), files=files)
    assert json.loads(batch["positive"]["inputs"]["prompts"])[1] == "b"
    assert len(json.loads(batch["positive"]["inputs"]["prompts"])) == 2


@pytest.mark.parametrize(
    ("slot", "value"),
    [
        ("seed", "1"), ("seed", True), ("seed", -1), ("seed", 2**64), ("seed", None), ("guidance", float("nan")), ("guidance", float("inf")),
        ("guidance", "3"), ("prompt", ["1", 0]), ("prompt", "x" * 5000), ("prompt", 3), ("width", 64.5), ("sampler", "../x"),
        ("sampler", "a b"), ("sampler", {}),
    ],
)  # fmt: skip
def test_a_value_that_is_not_of_its_slots_type_is_refused(slot, value):
    with pytest.raises(GraphError, match=f"\\${slot}"):
        fill(BY_NAME["sd15"].single, values(**{slot: value}), files={"ckpt_name": "x"})


RESULT = {"class_type": "PreviewImage", "inputs": {}}


@pytest.mark.parametrize(
    ("graph", "word"),
    [
        ("not json", "not JSON"),
        ("[" * 100_000, "not JSON"),
        (json.dumps([]), "nodes"),
        (json.dumps({}), "nodes"),
        (json.dumps({str(number): RESULT for number in range(10_000)}), f"1 to {NODES_MAX}"),
        (json.dumps({"nodes": [], "links": [], "version": 0.4}), "API format"),
        (json.dumps({"a": RESULT}), "result"),
        (json.dumps({"result": {"class_type": "X", "inputs": {"a": "$nothing"}}}), "no slot"),
        (json.dumps({"result": {"class_type": "X", "inputs": {"a": "$(rm)"}}}), "no slot"),
        (json.dumps({"result": {"class_type": "X", "inputs": {"a": ["gone", 0]}}}), "no node"),
        (json.dumps({"result": {"class_type": "X", "inputs": {"a": ["result"]}}}), "link"),
        (json.dumps({"result": {"class_type": "X", "inputs": {"a": {"b": 1}}}}), "plain value"),
        (json.dumps({"result": {"class_type": "X", "inputs": {}, "is_changed": 1}}), "more than"),
        ('{"result": {"class_type": "X", "inputs": {"a": NaN}}}', "plain value"),
        (json.dumps({"../x": RESULT, "result": RESULT}), "class_type"),
    ],
)
def test_a_bad_template_is_refused_in_a_sentence(graph, word):
    with pytest.raises(GraphError, match=word.replace("$", "\\$")):
        read_template(graph)


def test_loras_are_chained_between_the_model_and_whoever_used_it():
    flow = BY_NAME["sd15"]
    graph = fill(flow.single, values(), files={"ckpt_name": "x"})
    chained = with_loras(graph, model=("checkpoint", 0), clip=("checkpoint", 1), loras=[("a.safetensors", 0.5), ("b.safetensors", 1.0)])
    assert chained["lora-0"]["inputs"]["model"] == ["checkpoint", 0]
    assert chained["lora-1"]["inputs"] == {
        "model": ["lora-0", 0], "clip": ["lora-0", 1], "lora_name": "b.safetensors", "strength_model": 1.0, "strength_clip": 1.0,
    }  # fmt: skip
    assert chained["sampler"]["inputs"]["model"] == ["lora-1", 0]
    assert chained["positive"]["inputs"]["clip"] == ["lora-1", 1]
    assert chained["pixels"]["inputs"]["vae"] == ["checkpoint", 2]
    assert refusal(chained, object_info({**FILES, "ckpt_name": ["x"], "lora_name": ["a.safetensors", "b.safetensors"]}, pack=True), set()) is None


# ---- an operator's own folder ---------------------------------------------------------------------------------------


def own_flow(folder: Path, name: str, toml: str, graph: dict | str = "") -> Path:
    (folder / name).mkdir()
    (folder / name / "flow.toml").write_text(toml)
    text = json.dumps(graph) if isinstance(graph, dict) else graph
    (folder / name / "comfy.json").write_text(text or (Path("flows/definitions/sd15/comfy.json")).read_text())
    return folder


OWN = """
kind = "text_to_image"
[title]
en = "Mine"
[schedulers]
euler = ["euler", "normal"]
[[models]]
name = "mine"
family = "sd15"
default_width = 512
default_height = 512
size_multiple = 8
side_min = 64
side_max = 1024
max_pixels = 1048576
default_steps = 20
default_guidance = 7.0
[models.files]
ckpt_name = ["what*"]
"""


def test_an_operator_adds_a_folder_and_no_code(tmp_path):
    catalog = read_catalog(more=[own_flow(tmp_path, "mine", OWN)])
    flow = next(flow for flow in catalog.comfy if flow.name == "mine")
    files = {**FILES, "ckpt_name": ["whatever.safetensors"]}
    served, _ = examine(flow, flow.models, read_nodes(object_info(files, pack=True)))
    assert [(one.offer.name, one.offer.batch_by) for one in served] == [("mine", "request")]


def test_an_operators_flow_takes_the_place_of_a_shipped_one_of_its_name(tmp_path):
    catalog = read_catalog(more=[own_flow(tmp_path, "sd15", OWN)])
    assert [flow.title["en"] for flow in catalog.comfy if flow.name == "sd15"] == ["Mine"]


@pytest.mark.parametrize(
    ("toml", "word"),
    [
        (OWN.replace('kind = "text_to_image"', 'kind = "sculpt"'), "kind"),
        (OWN.replace("ckpt_name", "checkpoint_name"), "ckpt_name"),
        (OWN.replace("default_steps = 20", 'default_steps = "many"'), "default_steps"),
        (OWN.replace("family", "familie"), "famil"),
        (OWN + "\n[[[", "flow.toml"),
        ("a = " + "[" * 5000, "nested too deeply"),
        ("a = " + "9" * 5000, "flow.toml: Exceeds the limit"),
        (OWN.replace("[schedulers]", 'models_of = ["sdxl"]\n[schedulers]'), "models"),
    ],
)
def test_a_fault_in_an_operators_flow_names_file_and_field(tmp_path, toml, word):
    with pytest.raises(FlowError, match=word) as told:
        read_catalog(more=[own_flow(tmp_path, "mine", toml)])
    assert "mine/" in str(told.value)


def test_a_graph_in_the_editors_format_is_told_apart(tmp_path):
    with pytest.raises(FlowError, match="API format"):
        read_catalog(more=[own_flow(tmp_path, "mine", OWN, {"nodes": [], "links": []})])


def test_an_answer_of_any_shape_is_read_without_falling_over():
    hostile = [{}, {"A": None}, {"A": {"input": []}}, {"A": {"input": {"required": {"x": None, "y": [], "z": [1, 2], "w": [["a"], 3]}}, "output": 5}}]
    for told in hostile:
        read_nodes(told)
    assert read_nodes(hostile[-1])["A"].inputs["w"].choices == ("a",)
