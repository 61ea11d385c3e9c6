"""What k8s/check asks of built manifests: check.py KUBERNETES-VERSION FOLDER CRD-FOLDER...

Each file of FOLDER is one installation. Schemas first, unknown fields refused; then what has to fit
together across files, which no schema knows.
"""

import pathlib
import re
import sys

import jsonschema
import kubernetes_validate
import yaml

from fits import misfits

# Custom resources whose definitions are in no package that Go, Python or npm could fetch.
NO_SCHEMA = {"monitoring.googleapis.com"}

# A plain `=`, which one of the definitions has in a list, is a word.
yaml.SafeLoader.add_constructor("tag:yaml.org,2002:value", lambda loader, node: node.value)


def documents(path):
    for document in yaml.safe_load_all(path.read_text()):
        if document:
            yield document


def definitions(folders):
    """Schemas of custom resources by (apiVersion, kind)."""
    found = {}
    for path in (path for folder in folders for path in sorted(pathlib.Path(folder).glob("*.yaml"))):
        for definition in documents(path):
            if definition.get("kind") != "CustomResourceDefinition":
                continue
            spec = definition["spec"]
            for version in spec["versions"]:
                key = f"{spec['group']}/{version['name']}", spec["names"]["kind"]
                found[key] = closed(version["schema"]["openAPIV3Schema"], root=True)
    return found


def closed(schema, root=False):
    """The schema with no room for fields that it does not name, as a strict API server has it."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    open_ended = schema.get("x-kubernetes-preserve-unknown-fields")
    made = {}
    for key, value in schema.items():
        if key == "properties":
            made[key] = {name: closed(one) for name, one in value.items()}
        elif key in ("items", "additionalProperties", "anyOf", "allOf", "oneOf"):
            made[key] = closed(value)
        elif key not in ("format", "default", "nullable"):
            made[key] = value
    if root:
        made["properties"]["metadata"] = {"type": "object"}
    if schema.get("type") == "object" and "properties" in made and not open_ended:
        made.setdefault("additionalProperties", False)
    if schema.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
    return made


def of_schema(document, version, custom):
    """What is wrong with one object, or None."""
    key = document["apiVersion"], document["kind"]
    if key in custom:
        errors = jsonschema.Draft202012Validator(custom[key]).iter_errors(document)
        return "; ".join(f"{error.json_path}: {error.message[:200]}" for error in errors) or None
    if document["apiVersion"].split("/")[0] in NO_SCHEMA:
        return None
    try:
        kubernetes_validate.validate(document, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return f"{'.'.join(map(str, error.path))}: {error.message[:200]}"
    except kubernetes_validate.SchemaNotFoundError:
        return "there is no schema to hold it against"
    return None


def name(document):
    return f"{document['kind']} {document['metadata']['name']}"


def main():
    version, folder, *crds = sys.argv[1:]
    custom = definitions(crds)
    wrong, objects, unknown = [], 0, set()
    for path in sorted(pathlib.Path(folder).glob("*.yaml")):
        installation = list(documents(path))
        objects += len(installation)
        for document in installation:
            error = of_schema(document, version, custom)
            if error:
                wrong.append(f"{path.stem}: {name(document)}: {error}")
            key = document["apiVersion"], document["kind"]
            if key not in custom and key[0].split("/")[0] in NO_SCHEMA:
                unknown.add(document["kind"])
        if path.stem != "dashboards":
            wrong += [f"{path.stem}: {misfit}" for misfit in misfits(installation)]
    if wrong:
        sys.exit("\n".join(dict.fromkeys(wrong)))
    print(f"schemas: {objects} objects are right for Kubernetes {re.sub(r'[.]0$', '', version)}, "
          f"custom resources among them; {len(custom)} kinds of those are known")
    if unknown:
        print(f"NOT HELD AGAINST A SCHEMA, none can be fetched: {', '.join(sorted(unknown))}")


main()
