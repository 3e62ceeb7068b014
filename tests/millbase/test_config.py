from typing import Any

import pytest
from pydantic import Field, model_validator

from millbase.config import Config, apply_override, describe, dump_yaml, load_config, parse_override
from millbase.errors import ConfigError


class Optimizer(Config):
    """How to step."""

    lr: float = Field(default=1e-3, gt=0)
    """Learning rate."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Adam's decay rates."""


class Source(Config):
    """One source."""

    name: str
    """Name."""


class Train(Config):
    """A training run."""

    path: str
    """Where the data lies."""
    steps: int = Field(default=100, gt=0)
    """Optimizer steps."""
    optimizer: Optimizer = Optimizer()
    """The optimizer."""
    sources: list[Source] = []
    """Data sources."""


def test_file_overrides_and_defaults(tmp_path):
    file = tmp_path / "train.yaml"
    file.write_text("path: here\nsteps: 7\noptimizer:\n  lr: 1e-4\n")
    config = load_config(Train, file, ["optimizer.lr=2e-5", "sources=[{name: a}]", "sources.0.name=b"])
    assert config.steps == 7
    assert config.optimizer.lr == 2e-5
    assert config.optimizer.betas == (0.9, 0.95)
    assert config.sources[0].name == "b"


def test_scientific_notation_is_a_number(tmp_path):
    # YAML 1.1 readers give the string "1e-4"
    file = tmp_path / "train.yaml"
    file.write_text("path: x\noptimizer: {lr: 1e-4}\n")
    assert load_config(Train, file).optimizer.lr == 1e-4


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["path=x", "stepz=3"], "unknown key 'stepz'; did you mean 'steps'?"),
        (["path=x", "optimizer.lrate=3"], "unknown key 'optimizer.lrate'; did you mean 'lr'?"),
        (["path=x", "sources=[{name: a, nam: b}]"], "did you mean 'name'?"),
        (["path=x", "steps=-1"], "steps = -1"),
        (["path=x", "steps=many"], "steps = 'many'"),
        ([], "'path' is required"),
        (["path=x", "steps"], "not of the form"),
        (["path=x", "optimizer.lr.x=1"], "optimizer.lr"),
        (["path=x", "sources.3.name=1"], "'3'"),
        (["path=x", "optimizer={lr: ["], "not valid YAML"),
        (["path=x", "optimizer.lr=.nan"], "optimizer.lr"),
    ],
)
def test_errors_are_one_line_and_name_the_value(overrides, expected):
    with pytest.raises(ConfigError) as caught:
        load_config(Train, None, overrides)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("path: [", "line"), ("- a\n- b\n", "expected a mapping"), ("path: a\npath: b\n", "stands twice")],
)
def test_bad_files(tmp_path, text, expected):
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=expected):
        load_config(Train, file)
    with pytest.raises(ConfigError, match="does not exist"):
        load_config(Train, tmp_path / "missing.yaml")


def test_describe_shows_every_field_with_type_default_and_doc():
    docs = {doc.name: doc for doc in describe(Train)}
    assert docs["path"].default == "required"
    assert docs["steps"] == ("steps", "int", "100", "Optimizer steps.")
    assert docs["optimizer.lr"].doc == "Learning rate."
    assert docs["optimizer.betas"].default == "[0.9, 0.95]"
    assert docs["sources.N.name"].type == "str"


def test_dump_reads_back(tmp_path):
    config = load_config(Train, {"path": "x", "sources": [{"name": "a"}]})
    file = tmp_path / "out.yaml"
    file.write_text(dump_yaml(config))
    assert load_config(Train, file) == config


def test_source_mapping_is_not_changed():
    values = {"path": "x", "optimizer": {"lr": 0.1}}
    load_config(Train, values, ["optimizer.lr=0.2"])
    assert values["optimizer"]["lr"] == 0.1


def test_merge_keys(tmp_path):
    file = tmp_path / "train.yaml"
    file.write_text("optimizer: &o {lr: 0.5}\npath: x\nsources: []\n")
    assert load_config(Train, file).optimizer.lr == 0.5
    file.write_text("path: x\noptimizer:\n  <<: {lr: 0.25}\n  betas: [0.8, 0.9]\n")
    assert load_config(Train, file).optimizer == Optimizer(lr=0.25, betas=(0.8, 0.9))


def test_overrides_make_lists_and_add_items() -> None:
    values: dict[str, Any] = {}
    for text in ("sources.0.name=web", "sources.0.inputs=a.warc.gz", "sources.1.name=books"):
        apply_override(values, *parse_override(text))
    assert values == {"sources": [{"name": "web", "inputs": "a.warc.gz"}, {"name": "books"}]}
    with pytest.raises(ConfigError, match="'3' is not an index of a list of 2"):
        apply_override(values, *parse_override("sources.3.name=late"))


def test_checks_of_several_fields_do_not_print_the_whole_configuration() -> None:
    class Span(Config):
        """From one to another."""

        first: int = 0
        """Where it begins."""
        last: int = 9
        """Where it ends."""

        @model_validator(mode="after")
        def _in_order(self) -> "Span":
            if self.last < self.first:
                raise ValueError(f"Last {self.last} is before first {self.first}; swap them")
            return self

    class Holder(Config):
        """Of a span."""

        span: Span = Span()
        """The span."""

    with pytest.raises(ConfigError) as alone:
        load_config(Span, {"first": 3, "last": 2}, where="a.yaml")
    assert str(alone.value) == "a.yaml: last 2 is before first 3; swap them"
    with pytest.raises(ConfigError) as inside:
        load_config(Holder, {"span": {"first": 3, "last": 2}}, where="a.yaml")
    assert str(inside.value) == "a.yaml: span: last 2 is before first 3; swap them"
