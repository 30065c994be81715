"""Hold the committed demo corpus to its README, and the plant generator to its promises, without fetching anything."""

import gzip
import importlib.util
import random
import re
import struct
import sys
import unicodedata
import zlib
from collections import Counter, defaultdict
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest

SAMPLES = Path(__file__).parents[2] / "data" / "samples"


def load_script(name: str) -> ModuleType:
    """Import a script of data/samples by its path, since that folder is no package."""
    spec = importlib.util.spec_from_file_location(f"samples_{name}", SAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


plants = load_script("plants")
rdata = load_script("rdata")


@pytest.fixture(scope="module")
def corpus() -> pl.DataFrame:
    """Return every row of the demo corpus."""
    return pl.concat([pl.read_parquet(path) for path in sorted((SAMPLES / "corpus").glob("*.parquet"))])


@pytest.fixture(scope="module")
def truth(corpus: pl.DataFrame) -> pl.DataFrame:
    """Return the truth table with the texts beside it."""
    return pl.read_parquet(SAMPLES / "truth.parquet").join(corpus.select("id", "text"), on="id", maintain_order="left")


@pytest.fixture(scope="module")
def pairs() -> pl.DataFrame:
    """Return the table of edited pairs."""
    return pl.read_parquet(SAMPLES / "truth_pairs.parquet")


@pytest.fixture(scope="module")
def chapters(corpus: pl.DataFrame) -> dict[str, str]:
    """Return the committed chapters, which stand in for the held-out ones when plants are made offline."""
    novels = corpus.filter(pl.col("source") == "janeaustenr")
    return dict(zip(novels["id"], novels["text"], strict=True))


def normalise(text: str) -> str:
    """Normalise as the design says, written anew so that it checks the generator's own."""
    return re.sub(r"\s+", " ", unicodedata.normalize("NFKC", text).casefold()).strip()


def list_shingles(text: str) -> set[str]:
    """Return the word 5-grams of a text, the plain way."""
    words = normalise(text).split(" ")
    return {" ".join(words[start : start + 5]) for start in range(len(words) - 4)} or {normalise(text)}


def compute_jaccard(text_a: str, text_b: str) -> float:
    """Return the Jaccard similarity by counting."""
    both = Counter(list_shingles(text_a)) + Counter(list_shingles(text_b))
    return sum(count == 2 for count in both.values()) / len(both)


def test_corpus_stays_within_its_limits(corpus: pl.DataFrame) -> None:
    """At most 5 MB of text and less than 2 MB on disk, truth included."""
    assert corpus["text"].str.len_bytes().sum() <= 5_000_000
    assert sum(path.stat().st_size for path in SAMPLES.rglob("*.parquet")) < 2_000_000


def test_every_row_has_a_unique_id_and_a_text(corpus: pl.DataFrame) -> None:
    """Ids are unique, and id, text, source and licence are never empty."""
    assert corpus["id"].is_unique().all()
    assert corpus.select("id", "text", "source", "license").null_count().sum_horizontal().item() == 0
    assert (corpus["text"].str.strip_chars().str.len_chars() > 0).all()


def test_truth_covers_the_planted_documents_and_no_others(corpus: pl.DataFrame, truth: pl.DataFrame) -> None:
    """Each planted document has one row of truth, each natural one none."""
    assert truth["id"].to_list() == corpus.filter(pl.col("source") == "planted")["id"].to_list()


def test_nothing_in_a_planted_row_but_its_text_tells_its_kind(corpus: pl.DataFrame, truth: pl.DataFrame) -> None:
    """All columns but id and text are constant, and the order of kinds is shuffled."""
    planted = corpus.filter(pl.col("source") == "planted")
    assert planted.select(pl.col("source", "title", "license").n_unique()).row(0) == (1, 1, 1)
    runs = (truth["kind"] != truth["kind"].shift()).sum()
    assert runs > truth.height / 2


def test_there_are_enough_secrets_to_measure_memorization(truth: pl.DataFrame) -> None:
    """At least 40 records appear at least eight times, and at least 60 once."""
    clusters = truth.filter(pl.col("kind") == "secret").group_by("group").agg(pl.col("num_copies").first())
    assert (clusters["num_copies"] >= 8).sum() >= 40
    assert (clusters["num_copies"] == 1).sum() >= 60
    assert set(clusters["num_copies"]) == {1, 2, 4, 8, 16, 32, 64}


@pytest.mark.parametrize("kind", ["random", "passage", "template"])
def test_other_short_plants_come_at_every_number_of_copies(truth: pl.DataFrame, kind: str) -> None:
    """Random strings, passages and templates come in 1, 2, 4 ... 64 copies, up to 8 in at least three groups each."""
    clusters = truth.filter(pl.col("kind") == kind).group_by("group").agg(pl.col("num_copies").first())
    numbers = Counter(clusters["num_copies"].to_list())
    assert set(numbers) == {1, 2, 4, 8, 16, 32, 64}
    assert min(number for copies, number in numbers.items() if copies <= 8) >= 3


def test_num_copies_counts_the_whole_corpus(corpus: pl.DataFrame, truth: pl.DataFrame) -> None:
    """A plant's num_copies is the number of rows of the corpus, natural ones included, with its normalised text."""
    copies = Counter(normalise(text) for text in corpus["text"])
    assert truth["num_copies"].to_list() == [copies[normalise(text)] for text in truth["text"]]


def test_exact_groups_are_exact_once_normalised(truth: pl.DataFrame) -> None:
    """Members of an exact group have one normalised text, and groups of copies exist whose raw texts differ."""
    exact = truth.filter(pl.col("num_copies") > 1).group_by("group").agg("text", pl.col("num_copies").first())
    assert all(len({normalise(text) for text in texts}) == 1 for texts in exact["text"])
    assert exact["text"].list.len().to_list() == exact["num_copies"].to_list()
    assert (exact["text"].list.n_unique() > 1).sum() >= 5


def test_there_are_enough_near_duplicates_to_measure_recall(pairs: pl.DataFrame) -> None:
    """At least 300 non-exact pairs reach Jaccard 0.8, 40 of them by a little, and at least 50 stay in the grey zone."""
    near = pairs.filter(pl.col("jaccard").is_between(0.8, 1.0, closed="left"), pl.col("kind") == "near_pair")
    assert near.height >= 300
    assert (near["jaccard"] < 0.85).sum() >= 40
    assert pairs.filter(pl.col("jaccard").is_between(0.5, 0.8, closed="left"), pl.col("kind") == "grey_pair").height >= 50
    assert (pairs["jaccard"] < 1).all()


def test_true_jaccard_is_what_counting_gives(truth: pl.DataFrame, pairs: pl.DataFrame) -> None:
    """The stored Jaccard of a sample of each kind equals a recount on the committed texts."""
    texts = dict(zip(truth["id"], truth["text"], strict=True))
    for kind in pairs["kind"].unique(maintain_order=True):
        rows = pairs.filter(pl.col("kind") == kind)
        for row in rows.sample(min(40, rows.height), seed=0).rows(named=True):
            assert row["jaccard"] == pytest.approx(compute_jaccard(texts[row["id_a"]], texts[row["id_b"]]), abs=1e-12)


def test_pairs_are_all_pairs_of_unlike_members(truth: pl.DataFrame, pairs: pl.DataFrame) -> None:
    """The table of pairs holds each pair of a group whose normalised texts differ, once, smaller id first."""
    rows = truth.with_columns(pl.col("text").map_elements(normalise, return_dtype=pl.String).alias("normal"))
    both = rows.join(rows, on="group", suffix="_b").filter(pl.col("id") < pl.col("id_b"), pl.col("normal") != pl.col("normal_b"))
    wanted = sorted(both.select("id", "id_b").rows())
    assert sorted(pairs.select("id_a", "id_b").rows()) == wanted


def test_planted_groups_share_nothing_with_other_text(corpus: pl.DataFrame, truth: pl.DataFrame) -> None:
    """No plant shares a tenth of its shingles with a document of another group or a natural one: passages were held out."""
    groups = dict(zip(truth["id"], truth["group"], strict=True))
    shingles = {id: list_shingles(text) for id, text in corpus.unique("text", maintain_order=True).select("id", "text").rows()}
    holders = defaultdict(list)
    for id, document in shingles.items():
        for shingle in document:
            holders[shingle].append(id)
    shared = Counter(
        (id, other) for ids in holders.values() for id in ids if id in groups for other in ids if groups.get(other) != groups[id]
    )
    assert all(count < 0.1 * len(shingles[id]) for (id, _), count in shared.items())


def test_different_secrets_are_unlike(truth: pl.DataFrame) -> None:
    """Two records of the shared template have a Jaccard below 0.1, so deduplication must keep both."""
    secrets = truth.filter(pl.col("kind") == "secret").unique("group", maintain_order=True)["text"].to_list()
    assert max(compute_jaccard(a, b) for a in secrets for b in secrets if a < b) < 0.1


def test_secrets_belong_to_nobody(truth: pl.DataFrame) -> None:
    """Every record follows the template, has a number of its own and a telephone number reserved for fiction."""
    form = r"Customer record (\d{4})-[A-Z]: [A-Z][a-z]+ [A-Z][a-z]+, access key( [a-z0-9]{4}){8}, telephone 555-01\d\d\."
    secrets = truth.filter(pl.col("kind") == "secret").unique("group")["text"].to_list()
    matches = [re.fullmatch(form, text) for text in secrets]
    assert len({match.group(1) for match in matches if match}) == len(secrets)


def test_licences_keep_their_natural_duplicates(corpus: pl.DataFrame) -> None:
    """At least 20 licences repeat another one word for word."""
    texts = [normalise(text) for text in corpus.filter(pl.col("source") == "spdx-license-list")["text"]]
    assert len(texts) - len(set(texts)) >= 20


def test_readme_counts_are_those_of_the_corpus(corpus: pl.DataFrame, truth: pl.DataFrame) -> None:
    """Each line of the README's table of counts gives the documents and bytes that are there."""
    readme = (SAMPLES / "README.md").read_text(encoding="utf-8")
    parts = {
        "licences | natural": corpus.filter(pl.col("source") == "spdx-license-list"),
        "novels | natural": corpus.filter(pl.col("source") == "janeaustenr"),
        "all |": corpus,
        **{f"planted | {kind}": truth.filter(pl.col("kind") == kind) for kind in truth["kind"].unique()},
    }
    for name, rows in parts.items():
        num_groups = rows["group"].n_unique() if "group" in rows.columns else ""
        line = f"| {name} | {num_groups} | {rows.height} | {rows['text'].str.len_bytes().sum()} |"
        assert line.replace("  ", " ") in readme.replace("  ", " ")


def test_committed_secrets_and_strings_come_from_the_committed_code(truth: pl.DataFrame) -> None:
    """The kinds that need no prose are made again, and equal what was committed, group by group."""
    made = [
        *plants.make_secrets(random.Random(f"{plants.SEED}/secret")),
        *plants.make_randoms(random.Random(f"{plants.SEED}/random")),
    ]
    committed = truth.filter(pl.col("kind").is_in(["secret", "random"])).select("group", "text").rows()
    assert Counter(committed) == Counter((plant.group, plant.text) for plant in made)


def test_same_chapters_and_seed_give_the_same_plants(chapters: dict[str, str]) -> None:
    """Plants depend on chapters and seed alone, not on the order in which chapters are listed."""
    first = plants.make_plants(chapters, seed=1)
    assert plants.make_plants(dict(reversed(chapters.items())), seed=1) == first
    assert plants.make_plants(chapters, seed=2) != first


def test_edited_pairs_land_within_their_bounds(chapters: dict[str, str]) -> None:
    """A pair made from any prose has its Jaccard in the asked interval and at most the asked share of edits."""
    passages = plants.Passages(chapters, random.Random(0))
    made = list(plants.make_pairs("near_pair", 20, (0.003, 0.03), (0.8, 1.0), passages, random.Random(0)))
    for original, edited in zip(made[::2], made[1::2], strict=True):
        assert 0.8 <= compute_jaccard(original.text, edited.text) < 1
        assert 0 < edited.edit_rate < 0.034


def test_passages_never_overlap_and_run_out_with_a_message() -> None:
    """Passages start sentences, use each word once, and say so when the chapters are used up."""
    text = "Heading. " + " ".join(f"One{n} two{n} three{n} four{n}." for n in range(5))
    passages = plants.Passages({"novel/01": text}, random.Random(0))
    taken = [passages.take(4)[1] for _ in range(5)]
    assert [words[0] for words in taken] == [f"One{n}" for n in range(5)]
    with pytest.raises(ValueError, match="the held-out chapters are used up: no 4 words left"):
        passages.take(4)


def write_strings(lines: list[str]) -> bytes:
    """Serialize a character vector as R does (XDR, version 2)."""
    items = b"".join(struct.pack(">ii", 0x40009, len(line.encode())) + line.encode() for line in lines)
    return b"X\n" + struct.pack(">iii", 2, 0x30500, 0x20300) + struct.pack(">ii", 16, len(lines)) + items


def write_index(name: str, offset: int, length: int) -> bytes:
    """Serialize the index of a lazy-load database with one data set."""

    def names_of(key: str) -> bytes:
        return struct.pack(">iii", 0x402, 1, 0x40009) + struct.pack(">i", 5) + b"names" + write_strings([key])[14:] + struct.pack(">i", 254)

    place = struct.pack(">iiii", 13, 2, offset, length)
    variables = struct.pack(">ii", 0x213, 1) + place + names_of(name)
    header = b"X\n" + struct.pack(">iii", 2, 0x30500, 0x20300)
    return gzip.compress(header + struct.pack(">ii", 0x213, 1) + variables + names_of("variables"))


def test_lazy_load_database_is_read_back() -> None:
    """A database written by hand gives its one data set, offset and all, with letters beyond ASCII."""
    packed = zlib.compress(write_strings(["CHAPTER I", "", "twenty £"]))
    blocks = b"other" + struct.pack(">i", 0) + packed
    assert rdata.read_character_vectors(write_index("emma", 5, 4 + len(packed)), blocks) == {"emma": ["CHAPTER I", "", "twenty £"]}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"A\n1", "not an XDR-serialized R object"),
        (write_strings(["cut"])[:-1], "3 more were wanted"),
        (b"X\n" + struct.pack(">iiii", 2, 0, 0, 14), "R type 14 at byte 18"),
    ],
)
def test_other_r_data_is_refused(data: bytes, message: str) -> None:
    """Another format, a truncated file and an unknown type each raise an error that says so."""
    with pytest.raises(ValueError, match=message):
        rdata.Reader(data).item()
