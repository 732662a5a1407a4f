"""What `kubectl kustomize FOLDER` prints, for kustomizations that use no more than this knows.

Resources, components, images' tags, and JSON patches (RFC 6902) by kind and name, of operation `add`.
Whatever else a kustomization says is refused, so that nothing is passed over in silence.
"""

import os

import yaml


def build(folder, components=()):
    """The objects of a kustomization, and of components beside those that it names, as dictionaries."""
    objects = []
    _accumulate(folder, objects, components)
    return objects


def _accumulate(folder, objects, components=()):
    """Adds a folder's objects, and changes them all as it says."""
    with open(os.path.join(folder, "kustomization.yaml"), encoding="utf-8") as file:
        kustomization = yaml.safe_load(file)
    known = {"apiVersion", "kind", "resources", "components", "images", "patches"}
    assert set(kustomization) <= known, f"{folder}: {set(kustomization) - known}"
    for resource in kustomization.get("resources", []):
        path = os.path.join(folder, resource)
        if os.path.isdir(path):
            objects += build(path)
        else:
            with open(path, encoding="utf-8") as file:
                objects += yaml.safe_load_all(file)
    for component in [*kustomization.get("components", []), *components]:
        _accumulate(os.path.join(folder, component), objects)
    for image in kustomization.get("images", []):
        for one in objects:
            for container in containers(one):
                name, _, _ = container["image"].partition(":")
                if name == image["name"]:
                    container["image"] = f"{name}:{image['newTag']}"
    for patch in kustomization.get("patches", []):
        targets = [one for one in objects if one["kind"] == patch["target"]["kind"]
                   and one["metadata"]["name"] == patch["target"]["name"]]
        assert targets, f"{folder}: a patch has no target: {patch['target']}"
        for target in targets:
            for operation in yaml.safe_load(patch["patch"]):
                _add(target, **operation)


def containers(one):
    """The containers of an object with pods, else none."""
    pods = one.get("spec", {}).get("template", {}).get("spec", {})
    return pods.get("containers", [])


def _add(target, op, path, value):
    assert op == "add", op
    *way, last = path.removeprefix("/").split("/")
    for step in way:
        target = target[int(step) if isinstance(target, list) else step.replace("~1", "/")]
    if isinstance(target, list):
        assert last == "-", path
        target.append(value)
    else:
        target[last.replace("~1", "/")] = value
