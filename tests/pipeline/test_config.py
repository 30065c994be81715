"""Settings, their ranges and what is said of wrong ones."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema
import pydantic
import pytest

from pipeline.config import FINE_TUNING_RATE, AuditConfig, InputConfig, canonical_json, load_config, parse_config
from pipeline.errors import ConfigError
from pipeline.store import write_bytes

INPUT = {"paths": ["corpus"]}


def config(**sections: Any) -> AuditConfig:
    return parse_config({"input": INPUT, **sections})


def test_defaults_need_only_an_input() -> None:
    """A path is a whole configuration; a single one needs no list."""
    assert config() == parse_config({"input": {"paths": "corpus"}})
    assert config().input.paths == ("corpus",)


def test_sections_are_frozen() -> None:
    """A configuration does not change under a run."""
    with pytest.raises(pydantic.ValidationError):
        config().dedup.threshold = 0.5  # type: ignore[misc]


def test_empty_sections_are_defaults() -> None:
    """A section whose lines are all comments is YAML's null, and means its defaults."""
    assert config(dedup=None, proxy=None) == config()


WAIVER = {"gate": "source_loss", "until": "2020-01-31", "approver": "R. Roe", "reason": "known templates"}


def test_a_waiver_may_be_past_its_day() -> None:
    """It is kept and has no effect, which is not the configuration's to say; YAML's own dates are dates."""
    (waiver,) = parse_config({"input": INPUT, "release": {"waivers": [{**WAIVER, "until": date(2020, 1, 31)}]}}).release.waivers
    assert (waiver.gate, waiver.until, waiver.approver) == ("source_loss", date(2020, 1, 31), "R. Roe")


@pytest.mark.parametrize(
    ("waivers", "message"),
    [
        ([{**WAIVER, "gate": "source_los"}], r"release.waivers.0.gate: .*unknown gate source_los; did you mean source_loss"),
        ([{**WAIVER, "gate": "zzz"}], r"unknown gate zzz; available: source_loss, largest_cluster"),
        ([{**WAIVER, "gate": "rows_balance"}], r"rows_balance cannot be waived: it proves"),
        ([{key: value for key, value in WAIVER.items() if key != "approver"}], r"release.waivers.0.approver: Field required"),
        ([{**WAIVER, "approver": "  \t "}], r"release.waivers.0.approver: .*one line of visible characters"),
        ([{**WAIVER, "reason": "two\nlines"}], r"release.waivers.0.reason: .*one line of visible characters"),
        ([{**WAIVER, "until": "soon"}], r"release.waivers.0.until: Input should be a valid date"),
        ([{**WAIVER, "approved_by": "R. Roe"}], r"unknown key release.waivers.0.approved_by; did you mean approver"),
        ([WAIVER, {**WAIVER, "until": "2027-01-31"}], r"source_loss is waived twice; give the later waiver alone"),
    ],
)
def test_wrong_waivers_are_explained(waivers: list[dict[str, Any]], message: str) -> None:
    """A waiver is somebody's word: who, for what, until when and why have to be there."""
    with pytest.raises(ConfigError, match=message):
        parse_config({"input": INPUT, "release": {"waivers": waivers}})


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({}, r"1 setting\(s\) are wrong: input: Field required"),
        ({"input": {}}, r"give either input.paths or input.dataset, not both and not neither"),
        ({"input": {"paths": ["x"], "dataset": "y"}}, r"give either input.paths or input.dataset"),
        ({"input": INPUT, "dedup": {"treshold": 0.5}}, r"unknown key dedup.treshold; did you mean threshold"),
        ({"input": INPUT, "zzz": 1}, r"unknown key zzz; available: name, seed, input"),
        ({"input": INPUT, "dedup": {"threshold": 1.5}}, r"dedup.threshold: Input should be less than or equal to 1 \(got 1.5\)"),
        ({"input": INPUT, "proxy": {"learning_rate": float("inf")}}, r"proxy.learning_rate: Input should be a finite number"),
        ({"input": INPUT, "proxy": {"epochs": float("nan")}}, r"proxy.epochs: Input should be a finite number"),
        ({"input": INPUT, "dedup": {"num_bands": 20, "rows_per_band": 10}}, r"num_bands x rows_per_band = 200 exceeds num_perm = 128"),
        (
            {"input": INPUT, "dedup": {"keep": ["longest"], "quality_column": "q"}},
            r"quality_column is set but dedup.keep does not list 'quality'",
        ),
        ({"input": INPUT, "dedup": {"earliest_column": "q"}}, r"earliest_column is set but dedup.keep does not list 'earliest'"),
        ({"input": INPUT, "dedup": {"keep": ["earliest"]}}, r"dedup.keep lists 'earliest' but earliest_column is not set"),
        (
            {"input": INPUT, "dedup": {"keep": ["longest"], "source_priority": ["web"]}},
            r"source_priority is set but dedup.keep does not list 'source_priority'",
        ),
        ({"input": INPUT, "dedup": {"source_priority": ["a", "b", "a"]}}, r"dedup.source_priority names something twice"),
        (
            {"input": INPUT, "release": {"guards": {"source_los": "warn"}}},
            r"unknown key release.guards.source_los; did you mean source_loss",
        ),
        ({"input": INPUT, "release": {"guards": {"bucket_cap": "stop"}}}, r"release.guards.bucket_cap: Input should be 'off', 'warn'"),
        ({"input": INPUT, "release": {"max_loss_of_source": {"web": 2}}}, r"release.max_loss_of_source.web: Input should be less than"),
        (
            {"input": INPUT, "proxy": {"context": 16, "prompt_tokens": 9, "suffix_tokens": 8}},
            r"prompt_tokens \+ suffix_tokens exceed context",
        ),
        ({"input": INPUT, "proxy": {"ladder": [2, 2, 3]}}, r"ladder needs at least three strictly rising sizes"),
        ({"input": INPUT, "proxy": {"ladder": [0.5, 2, 3]}}, r"ladder needs dials of 1 or more: a model has a layer"),
        ({"input": INPUT, "proxy": {"device": "tpu"}}, r"proxy.device: Input should be 'auto', 'cpu' or 'cuda'"),
        ({"input": INPUT, "proxy": {"num_halves": [6, 4]}}, r"num_halves needs at least 8"),
        ({"input": INPUT, "name": "../x"}, r"name: String should match pattern"),
        ({"input": INPUT, "seed": -1, "dedup": {"ngram": 0}}, r"2 setting\(s\) are wrong: .*seed.*dedup.ngram|dedup.ngram.*seed"),
    ],
)
def test_wrong_settings_are_explained(raw: dict[str, Any], message: str) -> None:
    """Every fault is listed with its key and the nearest known one."""
    with pytest.raises(ConfigError, match=message):
        parse_config(raw)


def test_dials_may_lie_between_whole_numbers() -> None:
    """A whole dial has one form however it was written, so that digests of settings don't part over it."""
    one, other = (config(proxy={"ladder": ladder}) for ladder in ([2, 2.5, 3], [2.0, 2.5, 3.0]))
    assert one.proxy.ladder == (2, 2.5, 3)
    assert canonical_json(one) == canonical_json(other)
    assert '"ladder":[2,2.5,3]' in canonical_json(one)
    assert '"ladder":[2,3,4]' in canonical_json(config())


def test_proxies_that_start_from_a_base_learn_more_slowly() -> None:
    """The rate's default follows from init_from; a rate that is set stays, and so does a resolved configuration."""
    tuned = config(proxy={"init_from": "base"})
    assert (config().proxy.learning_rate, tuned.proxy.learning_rate) == (6e-3, FINE_TUNING_RATE)
    assert config(proxy={"init_from": "base", "learning_rate": 2e-3}).proxy.learning_rate == 2e-3
    assert parse_config(json.loads(canonical_json(tuned))) == tuned


def test_a_file_with_overrides(tmp_path: Path) -> None:
    """Overrides are YAML values under dotted keys and reach into missing and empty sections."""
    path = tmp_path / "audit.yaml"
    path.write_text("input:\n  paths: [corpus]\ndedup:\n  # threshold: 0.8\n")
    loaded = load_config(path, ["dedup.threshold=0.7", "proxy.ladder=[2, 4, 6]", "input.text_column=null", "seed=3"])
    assert (loaded.dedup.threshold, loaded.proxy.ladder, loaded.input.text_column, loaded.seed) == (0.7, (2, 4, 6), None, 3)


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        (None, [], r"no such configuration file; in .*audit.yaml; what to do: create one with `sinkaudit init"),
        ("a: [", [], r"the configuration is not readable YAML; in .*audit.yaml"),
        ("- a", [], r"the configuration is not a mapping; in .*; wanted sections such as input:; got list"),
        ("", [], r"the configuration is not a mapping; .* got NoneType"),
        ("input: {paths: [x]}", ["seed"], r"an override is not key=value; got seed"),
        ("input: {paths: [x]}", ["seed.x.y=1", "seed.x=1"], r"unknown key seed|seed: Input should be a valid integer"),
        ("input: {paths: [x]}\nseed: 1", ["seed.x=1"], r"seed is not a section; in seed.x=1"),
        ("input: {paths: [x]}", ["seed=["], r"an override's value is not YAML; in seed=\["),
        ("input: {paths: [x]}\nsede: 1", [], r"unknown key sede; did you mean seed; in .*audit.yaml"),
    ],
)
def test_wrong_files_are_explained(tmp_path: Path, text: str | None, overrides: list[str], message: str) -> None:
    """The message names the file or the override."""
    path = tmp_path / "audit.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(path, overrides)


def test_a_folder_is_no_configuration(tmp_path: Path) -> None:
    """Naming a folder is explained like any unreadable file."""
    with pytest.raises(ConfigError, match="not readable YAML"):
        load_config(tmp_path)


def test_canonical_json_comes_back_and_has_one_form() -> None:
    """A configuration read back from its canonical JSON is itself, and key order in the file does not show."""
    one = config(dedup={"threshold": 0.7, "ngram": 3})
    other = config(dedup={"ngram": 3, "threshold": 0.7})
    assert canonical_json(one) == canonical_json(other)
    assert parse_config(json.loads(canonical_json(one))) == one


def test_the_json_schema_accepts_what_the_model_accepts() -> None:
    """The shipped schema and the model agree on the defaults and on an unknown key."""
    schema = AuditConfig.model_json_schema()
    whole = json.loads(canonical_json(config()))
    jsonschema.validate(whole, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**whole, "unknown": 1}, schema)


def test_every_setting_has_a_default_but_the_input() -> None:
    """Nothing but the place of the text has to be written."""
    required = {name for name, field in AuditConfig.model_fields.items() if field.is_required()}
    assert required == {"input"}
    assert not [name for name, field in InputConfig.model_fields.items() if field.is_required()]


@pytest.mark.parametrize("url", ["s3://key:hush@bucket/x", "https://host/x?X-Amz-Signature=hush", "az://host/x?sv=1&sig=hush"])
@pytest.mark.parametrize("key", ["input.paths", "reference.paths", "runtime.ledger", "runtime.filtered", "runtime.reports"])
def test_credentials_in_a_url_are_refused_and_not_repeated(key: str, url: str) -> None:
    """A configuration is shown in reports; what is secret belongs into the environment."""
    section, name = key.split(".")
    raw: dict[str, Any] = {"input": {"paths": ["s3://bucket/a@b"]}}
    raw.setdefault(section, {})[name] = url
    with pytest.raises(ConfigError, match=rf"{key}.*holds credentials.*environment") as caught:
        parse_config(raw)
    assert "hush" not in str(caught.value)


def test_a_configuration_may_lie_on_an_object_store(s3: str) -> None:
    """It is read like a local one; one that is not there is told as such."""
    write_bytes(f"{s3}/conf/audit.yaml", b"input: {paths: [x.txt]}")
    assert load_config(f"{s3}/conf/audit.yaml", ["seed=3"]).seed == 3
    with pytest.raises(ConfigError, match=r"no such configuration file; in s3://audits/conf/other.yaml"):
        load_config(f"{s3}/conf/other.yaml")
