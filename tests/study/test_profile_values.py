"""The values of a profile are checked as its types are: before anything slow, in one sentence that
names file, key, what was expected and what was found."""

import pytest

from lib.study import profiles
from lib.system import paths

WRONG = [
    ("draws = 0", "'draws' should be above 0, found 0"),
    ("draws = -5", "above 0, found -5"),
    ("draws = true", "'draws' should be of type int as in paper.toml, found True"),
    ("seeds = []", "'seeds' should be a list of one or more, each named once"),
    ("seeds = [42, 42]", "each named once"),
    ("seeds = [-1]", "'seeds' should be a number of 0 or more, found -1"),
    ("seeds = [1.5]", "'seeds' should be of type int"),
    ('seeds = ["42"]', "'seeds' should be of type int"),
    ("seeds = 42", "'seeds' should be of type list"),
    ("methods = []", "a list of one or more"),
    ('methods = ["simclr", "simclr"]', "each named once"),
    ('methods = ["simclrr"]', "unknown methods in .* 'simclrr': did you mean 'simclr'"),
    ("train_shares = [0.0]", "'train_shares' should be a whole per cent, from 0.01 to 0.99"),
    ("train_shares = [1.0]", "a whole per cent"),
    ("train_shares = [0.014]", "a whole per cent, .*found 0.014"),
    ("train_shares = [0.01, 0.01]", "each named once"),
    ("validation_shares = [45]", "a whole per cent"),
    ("validation_shares = []", "a list of one or more"),
    ('protocol = "clear"', "unknown protocol in .* 'clear': did you mean 'clean'"),
    ("[training]\nepochs = 1.5", "'epochs' should be of type int"),
    ("[training]\nepochs = 0", "'epochs' should be above 0"),
    ("[training]\nepochs = -3", "above 0"),
    ("[training]\nbatch = 1", "'batch' should be a number of 2 or more, found 1"),
    ("[training]\nprobe_lr = -1", "'probe_lr' should be above 0, found -1"),
    ("[training]\nprobe_lr = nan", "above 0, found nan"),
    ("[training]\nprobe_lr = inf", "above 0, found inf"),
    ("[training]\nwarmup_epochs = -1", "a number of 0 or more"),
    ("[training]\nvalidate_every = 0", "above 0"),
    ("[backbone.resnet18]\npx = 0", "'px' should be a number of 16 or more"),
    ("[views]\ncrop = 0.0", "above 0"),
    ("[views]\ncrop = 1.5", "'crop' should be at most 1"),
    ("[views]\nflip = -0.5", "a number of 0 or more"),
    ("[views]\njitter = 2", "at most 1"),
    ("[backbone.vit_tiny]\nwidth = 0.0", "above 0"),
    ("[data]\ntrain = -1", "'train' should be a number of 0 or more"),
    ("[data]\ntrain = 0", "to simulate takes train, val, frame, found {'train': 0"),
    ("[data]\ncache = -64", "'cache' should be a number of 16 or more"),
    ("[data]\nfraction = 0.0", "above 0"),
    ("[data]\nfraction = 1.1", "at most 1"),
    ('[data]\nsource = "sewerml"', "did you mean 'sewer-ml'"),
    ("[resolution]\npx = []", "a list of one or more"),
    ("[resolution]\npx = [64, 8]", "a number of 16 or more, found 8"),
    ("[augmentation]\ncrops = [0.5, 2.0]", "at most 1, found 2.0"),
    ('[method.simclr]\noptimiser = "sgd"', "unknown optimiser in .*Valid: lars, adamw"),
    ("[method.simclr]\nlr = -0.1", "'lr' should be above 0"),
    ("[method.simclr]\ntemperature = 0", "above 0"),
    ("[method.mae]\nmask = 1.2", "at most 1"),
    ("[method.byol]\ntau_end = 1.01", "at most 1"),
    ("epochs = ", "own.toml is not TOML in UTF-8: "),
    ('base = "own"', "'base' leads back to the profile itself"),
]


@pytest.fixture
def load(tmp_path, monkeypatch):
    """A function that loads a profile of this text, on top of the smoke test's."""
    for name in ("paper", "smoke"):
        (tmp_path / f"{name}.toml").write_bytes((paths.PROFILES / f"{name}.toml").read_bytes())
    monkeypatch.setattr(paths, "PROFILES", tmp_path)
    profiles.load.cache_clear()

    def loaded(text):
        base = "" if "base" in text else 'base = "smoke"\n'
        (tmp_path / "own.toml").write_bytes((base + text).encode("latin-1"))
        return profiles.load("own")

    yield loaded
    profiles.load.cache_clear()


@pytest.mark.parametrize("text, expected", WRONG)
def test_a_wrong_value_is_one_sentence(load, text, expected):
    with pytest.raises(ValueError, match=expected) as error:
        load(text)
    assert "lib/study/profiles/own.toml" in str(error.value) and "\n" not in str(error.value)


def test_bases_that_lead_in_a_circle_are_refused(load, tmp_path):
    """The sentence was: maximum recursion depth exceeded."""
    (tmp_path / "other.toml").write_text('base = "own"')
    with pytest.raises(ValueError, match=r"own\.toml: 'base' leads back to the profile itself"):
        load('base = "other"')


def test_a_file_that_is_not_utf8_is_named(load):
    with pytest.raises(ValueError, match=r"own.toml is not TOML in UTF-8"):
        load('title = "Größe"')


@pytest.mark.parametrize(
    "text",
    ["[training]\nwarmup_epochs = 0", "[views]\njitter = 0\ncrop = 1", "seeds = [0]", "draws = 1"],
)
def test_values_at_the_edge_are_accepted(load, text):
    assert load(text)["draws"] in (1, 200)
